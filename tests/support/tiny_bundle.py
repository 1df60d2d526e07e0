"""A small, valid bundle made without torch, for tests of everything that reads bundles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors.numpy

from pfedfrz_protocol import (
    FORMAT_VERSION,
    Bundle,
    FileRecord,
    Group,
    Hyperparameters,
    InputSpec,
    Manifest,
    ParameterSpec,
    RuntimeGraphs,
    TrainableSet,
    find_method,
    sha256_hex,
)

PERSONAL = {"front.weight": (4, 6), "front.bias": (4,)}
SHARED = {"head.weight": (3, 4), "head.bias": (3,)}


def record(name: str, content: bytes) -> FileRecord:
    return FileRecord(name, len(content), sha256_hex(content))


Shapes = Mapping[str, tuple[int, ...]]


def make_bundle(
    seed: int = 0,
    method: str = "pfedfrz",
    personal: Shapes = PERSONAL,
    shared: Shapes = SHARED,
) -> Bundle:
    """A bundle whose graphs are placeholders: for everything that never runs one."""
    groups = ((Group.PERSONAL, personal), (Group.SHARED, shared))
    random = np.random.default_rng(seed)
    files: dict[str, bytes] = {}
    weights: dict[Group, FileRecord] = {}
    for group, shapes in groups:
        tensors = {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
        name = f"weights/{group.value}.safetensors"
        files[name] = safetensors.numpy.save(tensors)
        weights[group] = record(name, files[name])
    for graph in ("predict", "gradients_personal", "gradients_all"):
        files[f"onnx/{graph}.onnx"] = graph.encode()
    manifest = Manifest(
        FORMAT_VERSION,
        "tiny",
        InputSpec((6,), 3),
        tuple(
            ParameterSpec(name, shape, group)
            for group, shapes in groups
            for name, shape in shapes.items()
        ),
        ("front.*",),
        find_method(method).schedule(Hyperparameters()),
        weights,
        {
            "onnxruntime": RuntimeGraphs(
                record("onnx/predict.onnx", files["onnx/predict.onnx"]),
                {
                    kind: record(
                        f"onnx/gradients_{kind.value}.onnx",
                        files[f"onnx/gradients_{kind.value}.onnx"],
                    )
                    for kind in (TrainableSet.PERSONAL, TrainableSet.ALL)
                },
            )
        },
    )
    return Bundle(manifest, files)
