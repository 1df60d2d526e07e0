"""The bundle of a scale run, and updates that are encoded once and sent by many.

A light client trains nothing, yet what it sends is a real update: some differences to the model,
encoded as a device encodes them. They are differences, so that one encoded body is good for every
round and for every device; the header in front of it, which says whose it is, is made for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import safetensors.numpy

from pfedfrz_protocol import (
    FORMAT_VERSION,
    Bundle,
    Encoding,
    FileRecord,
    Group,
    Hyperparameters,
    InputSpec,
    Manifest,
    ParameterSpec,
    RuntimeGraphs,
    SharedCodec,
    TensorHeader,
    TrainableSet,
    UpdateLabel,
    find_method,
    sha256_hex,
)
from pfedfrz_protocol.tensors import MAGIC, VERSION

__all__ = ["PreparedUpdates", "make_bundle", "parameters_for"]

_WIDTH = 256
_PARAMETERS_PER_BYTE = 0.5904
"""Of a payload as prepared here: float16 noise keeps its low bytes and loses some of the highs."""
_STEP = 1e-3
"""The size of the differences; about that of one local training."""


def parameters_for(payload_bytes: int) -> int:
    """How many shared weights make updates of about that size."""
    return max(_WIDTH, int(payload_bytes * _PARAMETERS_PER_BYTE))


def make_bundle(parameters: int, seed: int = 0) -> Bundle:
    """A bundle with that many shared weights, nearly, whose graphs are placeholders."""
    rows = max(1, (parameters - 16) // (4 * (_WIDTH + 1)))
    shared = {
        name: shape
        for layer in range(4)
        for name, shape in (
            (f"body.{layer}.weight", (rows, _WIDTH)),
            (f"body.{layer}.bias", (rows,)),
        )
    }
    groups: dict[Group, dict[str, tuple[int, ...]]] = {
        Group.PERSONAL: {"head.weight": (10, rows), "head.bias": (10,)},
        Group.SHARED: dict(shared),
    }
    random = np.random.default_rng(seed)
    files: dict[str, bytes] = {}
    weights: dict[Group, FileRecord] = {}
    for group, shapes in groups.items():
        tensors = {
            name: (0.05 * random.standard_normal(shape)).astype(np.float32)
            for name, shape in shapes.items()
        }
        path = f"weights/{group.value}.safetensors"
        files[path] = safetensors.numpy.save(tensors)
        weights[group] = _record(path, files[path])
    for graph in ("predict", "gradients_personal", "gradients_all"):
        files[f"onnx/{graph}.onnx"] = graph.encode()
    graphs = {path: _record(path, files[path]) for path in files if path.startswith("onnx/")}
    manifest = Manifest(
        FORMAT_VERSION,
        "scale",
        InputSpec((_WIDTH,), 10),
        tuple(
            ParameterSpec(name, shape, group)
            for group, shapes in groups.items()
            for name, shape in shapes.items()
        ),
        ("head.*",),
        find_method("pfedfrz").schedule(Hyperparameters()),
        weights,
        {
            "onnxruntime": RuntimeGraphs(
                graphs["onnx/predict.onnx"],
                {
                    kind: graphs[f"onnx/gradients_{kind.value}.onnx"]
                    for kind in (TrainableSet.PERSONAL, TrainableSet.ALL)
                },
            )
        },
    )
    return Bundle(manifest, files)


def _record(path: str, content: bytes) -> FileRecord:
    return FileRecord(path, len(content), sha256_hex(content))


@dataclass(frozen=True)
class PreparedUpdates:
    """Some encoded bodies, of which every device sends one."""

    bodies: tuple[tuple[TensorHeader, bytes], ...]

    @classmethod
    def make(cls, bundle: Bundle, variants: int) -> PreparedUpdates:
        """That many different bodies, each from the codec itself."""
        codec = SharedCodec.for_manifest(bundle.manifest)
        zeros = {spec.name: np.zeros(spec.shape, np.float32) for spec in codec.layout}
        label = UpdateLabel("anybody", "boot", 1, 1, "0" * 64)
        bodies: list[tuple[TensorHeader, bytes]] = []
        for variant in range(variants):
            random = np.random.default_rng(1000 + variant)
            step = {
                name: (_STEP * random.standard_normal(zero.shape)).astype(np.float32)
                for name, zero in zeros.items()
            }
            payload = codec.encode(step, label, Encoding.DELTA_FLOAT16, zeros)
            header = codec.header(payload)
            bodies.append((header, payload[len(_framed(header)) :]))
        return cls(tuple(bodies))

    def payload(self, index: int, label: UpdateLabel) -> bytes:
        """The update of the device with that index, under its own label."""
        header, body = self.bodies[index % len(self.bodies)]
        return _framed(msgspec.structs.replace(header, label=label)) + body


def _framed(header: TensorHeader) -> bytes:
    text = msgspec.json.encode(header)
    return MAGIC + bytes([VERSION]) + len(text).to_bytes(4, "little") + text
