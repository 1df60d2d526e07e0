"""The file form of a graph of ATen operators, which the torch runtime runs.

Torch's own form for that, the `.pt2` of torch.export, cannot be loaded safely: torch.export.load
unpickles tensors and objects (2.13 tries `weights_only=True` and, when that refuses, goes on
without it), and evaluates the shapes in the file as Python expressions. So a graph is written down
in a form of its own, as JSON under a strict schema that holds numbers, lists of them, names of
operators and nothing that is executed.

Values are numbered: the inputs, then the constants, then the results of each step, in order. A step
applies one operator, named as torch.ops.aten has it, to values that come before. The batch size is
the only number that a file leaves open; it is the first extent of all data: `x`, `y`, `weight` and
features, `f.0` and so on. Operators that compute from tensors to tensors are listed in
aten_operators.py, and no other is run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, decode_json

from .aten_operators import ATEN_OPERATORS

__all__ = [
    "ATEN_FORMAT",
    "Argument",
    "AtenGraph",
    "AtenStep",
    "BatchMultiple",
    "Constant",
    "Dtype",
    "DtypeName",
    "Element",
    "NotFinite",
    "Value",
    "Word",
    "decode_aten_graph",
    "encode_aten_graph",
]

ATEN_FORMAT = 1
MAX_STEPS = 100_000
MAX_RESULTS = 4096
MAX_RANK = 16

DtypeName = Literal["float32", "float64", "int64", "int32", "bool"]


class _Tagged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="is"):
    pass


class Value(_Tagged, frozen=True, tag="value"):
    """A tensor: an input, a constant or the result of an earlier step."""

    number: int


class BatchMultiple(_Tagged, frozen=True, tag="batch"):
    """An extent: the batch size times `factor`."""

    factor: int


class Dtype(_Tagged, frozen=True, tag="dtype"):
    """The dtype of a result."""

    name: DtypeName


class NotFinite(_Tagged, frozen=True, tag="number"):
    """A float that JSON has no word for."""

    name: Literal["inf", "-inf", "nan"]


Word = Literal["none", "tanh", "floor", "trunc"]
Element = Value | BatchMultiple | Dtype | NotFinite | bool | int | float | Word | None
Argument = Element | tuple[Element, ...]


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor that is part of the graph; `data` is row-major and little-endian."""

    dtype: DtypeName
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: NDArray[np.generic]) -> Constant:
        """The array as a constant; its dtype must be one that graphs have."""
        little = array.astype(array.dtype.newbyteorder("<"))
        dtype = msgspec.convert(array.dtype.name, DtypeName)
        return cls(dtype, array.shape, little.tobytes())

    @property
    def array(self) -> NDArray[np.generic]:
        """A new array; ValueError if data and shape do not fit."""
        dtype = np.dtype(self.dtype)
        flat = np.frombuffer(self.data, dtype.newbyteorder("<")).astype(dtype)
        return flat.reshape(self.shape)


class AtenStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One operator applied: `results` values come out, numbered on from those before."""

    operator: str
    """Name and overload, as in `add.Tensor`."""
    arguments: tuple[Argument, ...]
    options: dict[str, Argument] = {}
    """Arguments that the operator takes by name only; on which device is not among them."""
    results: int = 1

    @property
    def values(self) -> Iterator[Value | BatchMultiple]:
        """Everything among the arguments that is not known beforehand."""
        for argument in (*self.arguments, *self.options.values()):
            for element in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(element, Value | BatchMultiple):
                    yield element


class AtenGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole graph; what it does not list among `inputs` it need not be fed."""

    format: int
    inputs: tuple[str, ...]
    constants: tuple[Constant, ...]
    steps: tuple[AtenStep, ...]
    outputs: dict[str, int]
    """The number of a value, by the output's name."""


def encode_aten_graph(graph: AtenGraph) -> bytes:
    """The file; equal graphs are equal bytes."""
    return msgspec.json.encode(graph)


def decode_aten_graph(content: bytes, title: str) -> AtenGraph:
    """The graph in `content`, checked; ConfigurationError says what is wrong with it."""
    try:
        graph = decode_json(content, AtenGraph)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"the graph {title} for runtime torch cannot be read: {error}; export the bundle again"
        ) from error
    for fault in _faults(graph):
        raise ConfigurationError(
            f"the graph {title} for runtime torch is not sound: {fault}; export the bundle again"
        )
    return graph


def _faults(graph: AtenGraph) -> Iterator[str]:
    if graph.format != ATEN_FORMAT:
        yield f"format {graph.format}, where this pfedfrz reads {ATEN_FORMAT}"
    if len(set(graph.inputs)) != len(graph.inputs):
        yield "an input occurs twice"
    for name in graph.inputs:
        if name not in ("x", "y", "weight") and not name.startswith(("p.", "f.")):
            yield f"input {name!r} is neither data nor a parameter"
    if len(graph.steps) > MAX_STEPS:
        yield f"{len(graph.steps)} steps (at most {MAX_STEPS})"
    for constant in graph.constants:
        if len(constant.shape) > MAX_RANK:
            # Before the product: that of thousands of huge extents would take minutes.
            yield f"a constant of rank {len(constant.shape)} (at most {MAX_RANK})"
            continue
        size = math.prod(constant.shape) * np.dtype(constant.dtype).itemsize
        if min(constant.shape, default=0) < 0 or size != len(constant.data):
            yield f"a constant of {len(constant.data)} bytes for shape {constant.shape}"
    known = len(graph.inputs) + len(graph.constants)
    batched = any(not name.startswith("p.") for name in graph.inputs)
    for place, step in enumerate(graph.steps):
        if step.operator not in ATEN_OPERATORS:
            yield f"operator {step.operator!r} is not one that the runtime runs"
        for value in step.values:
            if isinstance(value, Value) and not 0 <= value.number < known:
                yield f"step {place} needs value {value.number}, which is not there yet"
            if isinstance(value, BatchMultiple) and not (batched and value.factor > 0):
                yield f"step {place} asks for {value.factor} times the batch"
        if not 1 <= step.results <= MAX_RESULTS:
            yield f"step {place} has {step.results} results"
        known += step.results
    for name, number in graph.outputs.items():
        if not 0 <= number < known:
            yield f"output {name} is value {number}, which does not exist"
