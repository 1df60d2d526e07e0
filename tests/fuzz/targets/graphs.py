"""What the runtimes read of a bundle's graphs by themselves."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import onnx
from json_mutation import change_json
from message_examples import nasty_json
from recipe import Recipe

from pfedfrz_edge.runtimes.aten_graph import (
    AtenGraph,
    AtenStep,
    Constant,
    Value,
    decode_aten_graph,
    encode_aten_graph,
)
from pfedfrz_edge.runtimes.executorch import _methods
from pfedfrz_edge.runtimes.executorch_memory import planned_bytes
from pfedfrz_edge.runtimes.executorch_program import (
    MethodLayouts,
    TensorLayout,
    installed_version,
)
from pfedfrz_edge.runtimes.graph_names import GraphNames
from pfedfrz_edge.runtimes.onnxruntime import _ELSEWHERE
from pfedfrz_protocol import ConfigurationError

ATEN, PROGRAM, SIGNATURE, NAMES, ONNX, LAYOUT = range(6)


class _Program:
    """A program that says this of itself."""

    methods = ("signature", "predict", "gradients_all")

    def __init__(self, content: bytes) -> None:
        self._content = content

    def layouts(self, method: str) -> MethodLayouts:
        return MethodLayouts((TensorLayout((2, 6), np.dtype(np.float32)),) * 2, ())

    def run(self, method: str, inputs: Any) -> list[Any]:
        return [np.frombuffer(self._content, np.uint8)]


def target(data: bytes) -> None:
    """The first byte is the kind of graph."""
    recipe = Recipe(data)
    form = recipe.number() % 6
    body = recipe.rest()
    try:
        if form == ATEN:
            graph = decode_aten_graph(body, "it")
            for constant in graph.constants:
                assert constant.array.shape == constant.shape
            assert decode_aten_graph(encode_aten_graph(graph), "it") == graph
        elif form == PROGRAM:
            assert planned_bytes(body) >= 0
        elif form == SIGNATURE:
            _methods(_Program(body))
        elif form == NAMES:
            names = body.decode("utf-8", "replace").split("\n")
            half = len(names) // 2
            graph_names = GraphNames(tuple(names[:half]), tuple(names[half:]))
            graph_names.check("it", ["w"], ["x"], ["loss", "correct"])
        elif form == ONNX:
            _check_onnx(body)
        else:
            shape = [int.from_bytes(body[n : n + 8], "little", signed=True) for n in (1, 9, 17)]
            TensorLayout.of(shape, body[0] if body else 0)
    except ConfigurationError:
        pass


def _check_onnx(body: bytes) -> None:
    """Where ONNX's own reader finds data outside of the file, the guard has found it before."""
    try:
        model = onnx.ModelProto.FromString(body)
    except Exception:  # no protobuf
        return
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute]
    elsewhere = any(e.key == "location" for t in tensors for e in t.external_data)
    assert not elsewhere or _ELSEWHERE.search(body), "data outside of the file went unseen"


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    if not data or data[0] % 6 not in (ATEN, SIGNATURE):
        return None
    changed = change_json(data[1:], limit - 1, seed)
    return None if changed is None else data[:1] + changed


def _flatbuffer(sizes: list[int]) -> bytes:
    """A program of one plan that asks for these buffers."""
    plan_fields = struct.pack("<HH", 4 + 2 * 9, 8) + bytes(16) + struct.pack("<H", 4)
    buffers = struct.pack("<I", len(sizes)) + b"".join(struct.pack("<q", n) for n in sizes)
    plan = struct.pack("<iI", len(plan_fields), 4) + buffers
    fields = struct.pack("<HHHH", 8, 8, 0, 4)
    place = 8 + len(fields)
    root = struct.pack("<iI", len(fields), 4) + struct.pack("<I", 1)
    root += struct.pack("<I", 4 + len(plan_fields)) + plan_fields + plan
    return struct.pack("<I4s", place, b"ET12") + fields + root


def seeds() -> dict[str, bytes]:
    constant = Constant.of(np.ones((2, 2), np.float32))
    step = AtenStep("add.Tensor", (Value(0), Value(1)))
    graph = encode_aten_graph(AtenGraph(1, ("x", "p.w"), (constant,), (step,), {"logits": 3}))
    deep_shape = json.loads(graph)
    deep_shape["constants"][0]["shape"] = [2**62] * 500
    ones = json.loads(graph)
    ones["constants"][0]["shape"] = [1] * 90 + [2, 2]
    signature = json.dumps(
        {
            "executorch": installed_version(),
            "methods": {"predict": {"inputs": ["x", "p.w"], "outputs": []}},
        }
    ).encode()
    tensor = onnx.TensorProto(name="w", data_location=onnx.TensorProto.EXTERNAL, dims=[1])
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = onnx.ModelProto(
        graph=onnx.GraphProto(name="g", initializer=[tensor])
    ).SerializeToString()
    found = {
        "aten": (ATEN, graph),
        "aten-huge-shape": (ATEN, graph.replace(b"[2,2]", b"[4611686018427387904,2]")),
        "aten-many-huge-extents": (ATEN, json.dumps(deep_shape).encode()),
        "aten-rank": (ATEN, json.dumps(ones).encode()),
        "aten-negative-shape": (ATEN, graph.replace(b"[2,2]", b"[-2,-2]")),
        "aten-value-ahead": (ATEN, graph.replace(b'"number":1', b'"number":9')),
        "aten-results": (ATEN, graph.replace(b'"add.Tensor"', b'"add.Tensor","results":99999')),
        "aten-bad-base64": (ATEN, graph.replace(b'"data":"', b'"data":"!')),
        "aten-operator": (ATEN, graph.replace(b"add.Tensor", b"from_file.default")),
        "aten-duplicated-keys": (ATEN, graph.replace(b'{"format":1', b'{"format":2,"format":1')),
        "program": (PROGRAM, _flatbuffer([0, 4096])),
        "program-huge": (PROGRAM, _flatbuffer([2**62, 2**62])),
        "program-negative": (PROGRAM, _flatbuffer([-1])),
        "program-many": (PROGRAM, _flatbuffer([1]).replace(b"\x01\x00\x00\x00", b"\xff\xff\x00\x00")),
        "program-empty": (PROGRAM, b""),
        "program-offsets": (PROGRAM, b"\xff\xff\xff\xffET12" + bytes(40)),
        "signature": (SIGNATURE, signature),
        "signature-twice": (SIGNATURE, signature.replace(b"{", b'{"executorch":"0",', 1)),
        "names": (NAMES, b"x\np.w\nloss\ncorrect"),
        "names-twice": (NAMES, b"x\nx\nloss\nloss\ncorrect"),
        "names-foreign": (NAMES, "x\n\u202ep.w\nloss\n١".encode()),
        "onnx-outside": (ONNX, model),
        "onnx-long-varint": (ONNX, model.replace(b"\x08location", b"\x88\x80\x00location")),
        "onnx-plain": (ONNX, onnx.ModelProto(ir_version=8).SerializeToString()),
        "layout": (LAYOUT, b"\x06" + bytes(24)),
        "layout-negative": (LAYOUT, b"\x06" + b"\xff" * 24),
    }  # fmt: skip
    made = {name: bytes([form]) + body for name, (form, body) in found.items()}
    for name, body in nasty_json().items():
        made[f"aten-{name}"] = bytes([ATEN]) + body
        if name.startswith(("deep-a", "bad")):
            made[f"signature-{name}"] = bytes([SIGNATURE]) + body
    return made
