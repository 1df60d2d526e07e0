"""Puts weights into an ONNX file whose weights are inputs, without the package onnx.

An ONNX file is a protobuf message: fields one after the other, each a number, a kind and its
content. Here the fields of the outermost message and of its graph are gone through; all of them are
copied as they are, but for the inputs that become constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, Parameters

__all__ = ["with_weights"]

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INITIALIZER, _GRAPH_INPUT = 5, 11
_VALUE_NAME = 1
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT = 1
_VARINT, _BYTES = 0, 2
_MOST_BYTES = (1 << 31) - 1
"""What one protobuf message may hold."""


def with_weights(content: bytes, weights: Parameters, notes: Mapping[str, str]) -> bytes:
    """The ONNX file `content` with every input `p.NAME` replaced by the weights of that name.

    `notes` go into the file's metadata. Raises ConfigurationError when the file cannot be read,
    asks for weights that there are not, or becomes larger than such a file can be.
    """
    parts, graphs = list[bytes](), 0
    for field in _fields(content):
        if field.number != _MODEL_GRAPH:
            parts.append(field.whole)
            continue
        graphs += 1
        parts.append(_message(_MODEL_GRAPH, _graph(field.content, weights)))
    if graphs != 1:
        raise ConfigurationError("the bundle's graph predict is no ONNX file; export it again")
    for key, value in notes.items():
        entry = _message(1, key.encode()) + _message(2, value.encode())
        parts.append(_message(_MODEL_METADATA, entry))
    baked = b"".join(parts)
    if len(baked) > _MOST_BYTES:
        raise ConfigurationError(
            f"the model would be a file of {len(baked)} bytes, and an ONNX file holds at most "
            f"{_MOST_BYTES}"
        )
    return baked


def _graph(content: bytes, weights: Parameters) -> bytes:
    parts = list[bytes]()
    for field in _fields(content):
        name = _name(field.content) if field.number == _GRAPH_INPUT else ""
        if not name.startswith("p."):
            parts.append(field.whole)
            continue
        if name[2:] not in weights:
            raise ConfigurationError(f"the bundle's graph predict asks for {name!r}, which is "
                                     "no parameter of its model; export it again")  # fmt: skip
        parts.append(_message(_GRAPH_INITIALIZER, _tensor(name, weights[name[2:]])))
    return b"".join(parts)


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    little = np.ascontiguousarray(array, dtype="<f4")
    dims = b"".join(_varint(_TENSOR_DIMS << 3 | _VARINT) + _varint(n) for n in array.shape)
    kind = _varint(_TENSOR_TYPE << 3 | _VARINT) + _varint(_FLOAT)
    return dims + kind + _message(_TENSOR_NAME, name.encode()) + _message(
        _TENSOR_RAW, little.tobytes()
    )  # fmt: skip


def _name(value: bytes) -> str:
    names = [field.content for field in _fields(value) if field.number == _VALUE_NAME]
    return names[-1].decode(errors="replace") if names else ""


@dataclass(frozen=True)
class _Field:
    number: int
    content: bytes
    """Of a field with a length; nothing for plain numbers."""
    whole: bytes
    """The field as it stands."""


def _fields(message: bytes) -> Iterator[_Field]:
    """Every field of a message; ConfigurationError where it does not add up."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _read_varint(message, at)
        content = b""
        match key & 7:
            case 0:
                _, at = _read_varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _read_varint(message, at)
                content, at = message[at : at + length], at + length
            case 5:
                at += 4
            case _:
                raise _unreadable()
        if at > len(message):
            raise _unreadable()
        yield _Field(key >> 3, content, message[begin:at])


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _unreadable()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _unreadable() -> ConfigurationError:
    return ConfigurationError("the bundle's graph predict is no ONNX file; export it again")
