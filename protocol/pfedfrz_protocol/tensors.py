"""Shared weights as bytes, and back.

    magic "PFZT" | version u8 | header length u32 little-endian | JSON header | body

The body is safetensors, as it is (`float32`) or, for `delta-float16`, the difference to a base
model that both sides hold, cast to float16 *after* subtracting (which keeps 2e-4 of relative
accuracy where casting first would lose 1.4e-3), byte-shuffled and zstd-compressed. `delta-int8` is
the same difference as two tensors, `delta` int8 `(parameters,)` in the layout's order and `scale`
float32 for each block of it (int8_blocks.py), zstd-compressed. The header's sha256 is over the
decoded safetensors bytes and is checked before they are parsed.

A codec is made from a manifest and knows its shared group only: a personal tensor has no place in
it, in either direction.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import safetensors.numpy
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError

from .bundle import Parameters
from .errors import ProtocolError, RejectReason
from .flat_tensors import flat_form
from .identity import SIGNATURE_BYTES
from .int8_blocks import dequantize, quantize, scales_for
from .manifest import Manifest, sha256_hex
from .messages import Count, Digest, Name, Number
from .partition import Group, TensorSpec
from .strict_json import decode_json

__all__ = [
    "Encoding",
    "EncodingOverflow",
    "ModelLabel",
    "SharedCodec",
    "TensorHeader",
    "UpdateLabel",
    "head_bytes",
    "tensors_digest",
]

MAGIC = b"PFZT"
VERSION = 1
_PREFIX = struct.Struct("<4sBI")
MAX_HEADER_BYTES = 64 * 1024
_ZSTD_LEVEL = 1
_Q, _SCALE = "delta", "scale"
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class Encoding(str, enum.Enum):
    """How the tensors of a body are written."""

    FLOAT32 = "float32"
    DELTA_FLOAT16 = "delta-float16"
    DELTA_INT8 = "delta-int8"


class EncodingOverflow(ValueError):
    """A difference does not fit into its encoding; the sender may choose float32 instead."""


class ModelLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="model"):
    """The body is a model version."""

    version: Number


class UpdateLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="update"):
    """The body is a device's update."""

    device: Name
    boot_id: Name
    round: Number
    samples: Count
    base: Digest
    """Digest of the model that was trained from."""


class TensorHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the receiver must know before it touches the body."""

    encoding: Encoding
    decoded_bytes: Count
    sha256: Digest
    label: ModelLabel | UpdateLabel


def head_bytes(payload: bytes | memoryview) -> bytes:
    """Everything of a payload before its body; ProtocolError when the framing is wrong."""
    if len(payload) < _PREFIX.size:
        raise ProtocolError(RejectReason.MALFORMED, "shorter than its prefix")
    magic, version, length = _PREFIX.unpack_from(payload)
    if magic != MAGIC or version != VERSION:
        raise ProtocolError(RejectReason.MALFORMED, "not tensors of this protocol version")
    end = _PREFIX.size + length
    if length > MAX_HEADER_BYTES or end > len(payload):
        raise ProtocolError(RejectReason.MALFORMED, f"header of {length} bytes")
    return bytes(payload[:end])


def tensors_digest(tensors: Mapping[str, NDArray[np.float32]]) -> str:
    """The identity of a set of float32 tensors: sha256 of their safetensors form, sorted by name.

    Safetensors orders tensors by dtype and name, so equal tensors give equal bytes.
    """
    return sha256_hex(_safetensors(tensors))


def _safetensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    return safetensors.numpy.save({n: np.asarray(t, order="C") for n, t in tensors.items()})


@dataclass(frozen=True)
class SharedCodec:
    """Encodes and decodes the shared group of one bundle, and nothing else."""

    layout: tuple[TensorSpec, ...]

    @classmethod
    def for_manifest(cls, manifest: Manifest) -> SharedCodec:
        """The codec of a manifest's shared group."""
        return cls(manifest.layout(Group.SHARED))

    @property
    def max_decoded_bytes(self) -> int:
        """Upper bound on a body before compression: float32 data and a safetensors header."""
        names = sum(len(spec.name.encode()) + 256 for spec in self.layout)
        return 1024 + names + 4 * sum(spec.elements for spec in self.layout)

    @property
    def max_payload_bytes(self) -> int:
        """Upper bound on an encoded payload; more than that is refused before it is read."""
        incompressible = self.max_decoded_bytes // 128 + 1024
        return _PREFIX.size + MAX_HEADER_BYTES + self.max_decoded_bytes + incompressible

    @property
    def max_sealed_bytes(self) -> int:
        """The same with a signature behind it: what a transfer may announce."""
        return self.max_payload_bytes + SIGNATURE_BYTES

    def encode(
        self,
        tensors: Mapping[str, NDArray[np.float32]],
        label: ModelLabel | UpdateLabel,
        encoding: Encoding = Encoding.FLOAT32,
        base: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> bytes:
        """The payload for `tensors`, float32 arrays with exactly the layout's names and shapes.

        Differences need the `base` tensors. Raises ProtocolError (wrong-tensors) for any other set
        of names, and EncodingOverflow when a difference is beyond float16's range or, in 8 bits,
        not finite.
        """
        self._check(tensors)
        if encoding is Encoding.FLOAT32:
            decoded = body = _safetensors(tensors)
        elif base is None:
            raise ValueError(f"{encoding.value} needs the base model")
        elif encoding is Encoding.DELTA_FLOAT16:
            decoded = _safetensors({n: _delta(tensors[n], base[n]) for n in tensors})
            body = _deflate(_shuffle(decoded))
        else:
            decoded = _safetensors(self._eighths(tensors, base))
            body = _deflate(decoded)
        header = msgspec.json.encode(
            TensorHeader(encoding, len(decoded), sha256_hex(decoded), label)
        )
        return _PREFIX.pack(MAGIC, VERSION, len(header)) + header + body

    def header(self, payload: bytes | memoryview) -> TensorHeader:
        """The header of a payload; ProtocolError when the framing or the header is wrong."""
        return self._split(payload)[0]

    def decode(
        self,
        payload: bytes | memoryview,
        base: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> tuple[TensorHeader, Parameters]:
        """Header and float32 tensors of a payload, in the layout's order.

        Raises ProtocolError with the reason: framing, bounds, digest, names, shapes, dtypes.
        Values are not judged here: NaN is for the validation that knows who sent it.
        """
        header, body = self._split(payload)
        if header.decoded_bytes > self.max_decoded_bytes:
            raise ProtocolError(RejectReason.TOO_LARGE, f"body of {header.decoded_bytes} bytes")
        if header.encoding is Encoding.FLOAT32:
            return header, self._parse(header, body, np.dtype(np.float32))
        if base is None:
            raise ProtocolError(RejectReason.WRONG_BASE, "a difference, but the base is not held")
        delta: Mapping[str, NDArray[np.floating]]
        if header.encoding is Encoding.DELTA_INT8:
            delta = self._split_up(self._halves(header, body))
        else:
            delta = self._parse(header, _unpack(body, header.decoded_bytes), np.dtype(np.float16))
        return header, {name: base[name] + delta[name].astype(np.float32) for name in delta}

    def decode_flat(self, payload: bytes | memoryview) -> tuple[TensorHeader, NDArray[np.floating]]:
        """Header and numbers of a payload as one vector `(parameters,)` in the layout's order.

        float32 numbers are the tensors; float16 numbers are differences to the base model, which
        `add_halves` adds. Raises as `decode` does.
        """
        header, body = self._split(payload)
        if header.decoded_bytes > self.max_decoded_bytes:
            raise ProtocolError(RejectReason.TOO_LARGE, f"body of {header.decoded_bytes} bytes")
        if header.encoding is Encoding.DELTA_INT8:
            return header, self._halves(header, body)
        decoded: bytes | memoryview = body
        dtype: np.dtype[np.generic] = np.dtype(np.float32)
        if header.encoding is not Encoding.FLOAT32:
            decoded, dtype = _unpack(body, header.decoded_bytes), np.dtype(np.float16)
        pieces = flat_form(self.layout, dtype).find(np.frombuffer(decoded, np.uint8), dtype)
        if pieces is None:
            tensors = self._parse(header, decoded, dtype)
            pieces = [tensors[spec.name].ravel() for spec in self.layout]
        elif len(decoded) != header.decoded_bytes or sha256_hex(decoded) != header.sha256:
            raise ProtocolError(RejectReason.WRONG_DIGEST, "the body is not what its header says")
        if not pieces:  # everything is personal
            return header, np.empty(0, np.float32)
        flat = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return header, cast("NDArray[np.floating]", flat)

    def _split(self, payload: bytes | memoryview) -> tuple[TensorHeader, memoryview]:
        if len(payload) > self.max_payload_bytes:
            raise ProtocolError(RejectReason.TOO_LARGE, f"payload of {len(payload)} bytes")
        head = head_bytes(payload)
        try:
            header = decode_json(head[_PREFIX.size :], TensorHeader)
        except msgspec.DecodeError as error:
            raise ProtocolError(RejectReason.MALFORMED, f"header: {error}"[:300]) from error
        return header, memoryview(payload)[len(head) :]

    def _eighths(
        self, tensors: Mapping[str, NDArray[np.float32]], base: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.generic]]:
        pieces = [(tensors[s.name] - base[s.name]).ravel() for s in self.layout]
        difference = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
        # Written so that a NaN is caught too: 8 bits have no room for one.
        if difference.size and not np.abs(difference).max() <= _FLOAT16_MAX:
            raise EncodingOverflow(f"a weight moved by more than {_FLOAT16_MAX:g}, or is no number")
        q, scale = quantize(difference)
        return {_Q: q, _SCALE: scale}

    def _halves(self, header: TensorHeader, body: bytes | memoryview) -> NDArray[np.float16]:
        """The differences of a `delta-int8` body, `(parameters,)` float16."""
        numbers = sum(spec.elements for spec in self.layout)
        found = _load(header, _inflate(body, header.decoded_bytes))
        q, scale = found.get(_Q), found.get(_SCALE)
        if (
            set(found) != {_Q, _SCALE}
            or q is None
            or scale is None
            or (q.dtype, q.shape) != (np.dtype(np.int8), (numbers,))
            or (scale.dtype, scale.shape) != (np.dtype(np.float32), (scales_for(numbers),))
        ):
            raise ProtocolError(
                RejectReason.WRONG_TENSORS, f"not {numbers} int8 numbers with their scales"
            )
        return dequantize(q.astype(np.int8, copy=False), scale.astype(np.float32, copy=False))

    def _split_up(self, flat: NDArray[np.float16]) -> dict[str, NDArray[np.float16]]:
        tensors, start = {}, 0
        for spec in self.layout:
            tensors[spec.name] = flat[start : start + spec.elements].reshape(spec.shape)
            start += spec.elements
        return tensors

    def _parse(
        self, header: TensorHeader, decoded: bytes | memoryview, dtype: np.dtype[np.generic]
    ) -> Parameters:
        tensors = _load(header, decoded)
        self._check(tensors, dtype)
        return {spec.name: tensors[spec.name] for spec in self.layout}

    def _check(
        self,
        tensors: Mapping[str, NDArray[np.generic]],
        dtype: np.dtype[np.generic] | None = None,
    ) -> None:
        dtype = dtype or np.dtype(np.float32)
        wanted = {spec.name for spec in self.layout}
        if set(tensors) != wanted:
            odd = sorted(set(tensors) ^ wanted)
            raise ProtocolError(
                RejectReason.WRONG_TENSORS, f"not the shared group: {', '.join(odd)}"[:300]
            )
        for spec in self.layout:
            array = tensors[spec.name]
            if array.shape != spec.shape or array.dtype != dtype:
                raise ProtocolError(
                    RejectReason.WRONG_TENSORS,
                    f"{spec.name} is {array.dtype} {array.shape}, not {dtype} {spec.shape}",
                )


def _load(header: TensorHeader, decoded: bytes | memoryview) -> dict[str, NDArray[Any]]:
    """The tensors of a body, after a look at its digest."""
    if len(decoded) != header.decoded_bytes or sha256_hex(decoded) != header.sha256:
        raise ProtocolError(RejectReason.WRONG_DIGEST, "the body is not what its header says")
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(bytes(decoded))
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(RejectReason.MALFORMED, f"safetensors: {error}"[:300]) from error
    return tensors


def _delta(new: NDArray[np.float32], base: NDArray[np.float32]) -> NDArray[np.float16]:
    difference = new - base
    # Written so that a NaN passes: judging values is the receiver's work, not the codec's.
    if difference.size and np.abs(difference).max() > _FLOAT16_MAX:
        raise EncodingOverflow(f"a weight moved by more than {_FLOAT16_MAX:g}")
    return difference.astype(np.float16)


def _shuffle(data: bytes) -> bytes:
    """First all low bytes, then all high bytes of the 16-bit words: the highs compress well."""
    return np.frombuffer(data, np.uint8).reshape(-1, 2).T.tobytes()


def _unshuffle(data: bytes) -> bytes:
    lows, highs = np.frombuffer(data, np.uint8).reshape(2, -1)
    # As arithmetic, which is ten times as quick as writing every other byte.
    words = highs.astype("<u2")
    words <<= 8
    words |= lows
    return words.tobytes()


def _deflate(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)


def _unpack(body: bytes | memoryview, decoded_bytes: int) -> bytes:
    """The unshuffled content of a zstd body; see `_inflate`."""
    if decoded_bytes % 2:
        raise ProtocolError(RejectReason.MALFORMED, f"{decoded_bytes} bytes of 16-bit words")
    return _unshuffle(_inflate(body, decoded_bytes))


def _inflate(body: bytes | memoryview, decoded_bytes: int) -> bytes:
    """The content of a zstd body, which must be one frame of exactly that length.

    The frame's own claim is checked first: the library allocates what the frame says.
    """
    try:
        frame = zstandard.get_frame_parameters(body)
        if frame.content_size != decoded_bytes:
            raise ProtocolError(
                RejectReason.MALFORMED, f"the frame holds {frame.content_size} bytes"
            )
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(RejectReason.MALFORMED, f"zstd: {error}") from error
