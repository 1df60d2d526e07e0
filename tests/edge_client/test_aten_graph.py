from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_edge.runtimes.aten_graph import (
    ATEN_FORMAT,
    AtenGraph,
    AtenStep,
    BatchMultiple,
    Constant,
    Dtype,
    NotFinite,
    Value,
    decode_aten_graph,
    encode_aten_graph,
)
from pfedfrz_protocol import ConfigurationError

GRAPH = AtenGraph(
    ATEN_FORMAT,
    ("p.w", "x"),
    (Constant.of(np.arange(3, dtype=np.int64)),),
    (
        AtenStep("full.default", ((BatchMultiple(2), 3), -1.5), {"dtype": Dtype("float32")}),
        AtenStep("max.dim", (Value(3), 1, True), results=2),
        AtenStep("clamp.default", (Value(4), NotFinite("-inf"), None)),
        AtenStep("cat.default", ((Value(6), Value(1)), 0)),
        AtenStep("gelu.default", (Value(7),), {"approximate": "tanh"}),
    ),
    {"logits": 8, "kept": 2},
)


def test_a_graph_reads_back_as_it_was() -> None:
    content = encode_aten_graph(GRAPH)
    again = decode_aten_graph(content, "predict")
    assert again == GRAPH
    assert encode_aten_graph(again) == content
    # 1, 1.0 and true are three different things to an operator.
    step = AtenStep("add.Tensor", (Value(1), 1, 1.0, True))
    (read,) = decode_aten_graph(
        encode_aten_graph(msgspec.structs.replace(GRAPH, steps=(step,), outputs={})), "predict"
    ).steps
    assert [type(argument) for argument in read.arguments] == [Value, int, float, bool]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_constants_keep_dtype_shape_and_bits(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape)).reshape(shape) / 3).astype(dtype)
    again = Constant.of(array).array
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    assert again.flags.writeable


def changed(**changes: Any) -> bytes:
    return encode_aten_graph(msgspec.structs.replace(GRAPH, **changes))


def with_step(*arguments: Any, operator: str = "relu.default", results: int = 1) -> bytes:
    return changed(steps=(AtenStep(operator, arguments, results=results),), outputs={})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"\x80\x04cposix\nsystem\n.", "cannot be read"),
        (encode_aten_graph(GRAPH)[:-40], "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (changed(format=2), "format 2"),
        (changed(inputs=("x", "x")), "input occurs twice"),
        (changed(inputs=("p.w", "env")), "input 'env' is neither data nor a parameter"),
        (changed(inputs=("p.w", "p.v")), "asks for 2 times the batch"),
        (changed(constants=(Constant("int64", (3,), b"123"),)), "3 bytes for shape"),
        (changed(constants=(Constant("int64", (-1, -1), bytes(8)),)), "8 bytes for shape"),
        (with_step(Value(3)), "value 3, which is not there yet"),
        (with_step(Value(-1)), "value -1, which is not there yet"),
        (with_step((Value(9),)), "value 9, which is not there yet"),
        (with_step((BatchMultiple(0),)), "0 times the batch"),
        (with_step(Value(1), results=0), "0 results"),
        (with_step(Value(1), results=10**9), "results"),
        (with_step(Value(1), operator="from_file.default"), "'from_file.default' is not one"),
        (with_step(Value(1), operator="relu_.default"), "'relu_.default' is not one"),
        (with_step(Value(1), operator="__class__.default"), "'__class__.default' is not one"),
        (changed(outputs={"logits": 9}), "value 9, which does not exist"),
    ],
)
def test_an_unsound_graph_is_refused_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"graph predict for runtime torch") as caught:
        decode_aten_graph(content, "predict")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"steps": [{"operator": "relu.default", "arguments": [{"is": "code", "text": "1"}]}]},
        {"steps": [{"operator": "relu.default", "arguments": ["sys"]}]},
        {"steps": [{"operator": "relu.default", "arguments": [[[1]]]}]},
        {"constants": [{"dtype": "object", "shape": [], "data": ""}]},
    ],
)
def test_nothing_but_the_schema_is_read(change: dict[str, Any]) -> None:
    content = {**json.loads(encode_aten_graph(GRAPH)), **change}
    with pytest.raises(ConfigurationError, match="cannot be read"):
        decode_aten_graph(json.dumps(content).encode(), "predict")


@given(st.integers(0, len(encode_aten_graph(GRAPH)) - 1), st.binary(max_size=3))
def test_a_damaged_file_is_a_graph_or_refused(place: int, bytes_there: bytes) -> None:
    content = encode_aten_graph(GRAPH)
    damaged = content[:place] + bytes_there + content[place + len(bytes_there) :]
    try:
        graph = decode_aten_graph(damaged, "predict")
    except ConfigurationError:
        return
    assert isinstance(graph, AtenGraph)


@pytest.mark.parametrize("extents", [[1] * 90 + [3], [2**62] * 100_000])
def test_constant_of_absurd_rank_is_refused_at_once(extents: list[int]) -> None:
    graph = json.loads(encode_aten_graph(GRAPH))
    graph["constants"][0]["shape"] = extents
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="rank"):
        decode_aten_graph(json.dumps(graph).encode(), "it")
    assert time.monotonic() - began < 5
