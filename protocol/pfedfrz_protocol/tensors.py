"""Shared weights as bytes, and back.

    magic "PFZT" | version u8 | header length u32 little-endian | JSON header | body

The body is safetensors, as it is (`float32`) or, for `delta-float16`, the difference to a base
model that both sides hold, cast to float16 *after* subtracting (which keeps 2e-4 of relative
accuracy where casting first would lose 1.4e-3), byte-shuffled and zstd-compressed. The header's
sha256 is over the decoded safetensors bytes and is checked before they are parsed.

A codec is made from a manifest and knows its shared group only: a personal tensor has no place in
it, in either direction.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

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
from .manifest import Manifest, sha256_hex
from .messages import Count, Digest, Name, Number
from .partition import Group, TensorSpec

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
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class Encoding(str, enum.Enum):
    """How the tensors of a body are written."""

    FLOAT32 = "float32"
    DELTA_FLOAT16 = "delta-float16"


class EncodingOverflow(ValueError):
    """A difference does not fit into float16; the sender may choose float32 instead."""


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


def _safetensors(tensors: Mapping[str, NDArray[np.float32] | NDArray[np.float16]]) -> bytes:
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

        `delta-float16` needs the `base` tensors. Raises ProtocolError (wrong-tensors) for any
        other set of names, and EncodingOverflow when a difference is beyond float16's range.
        """
        self._check(tensors)
        if encoding is Encoding.FLOAT32:
            decoded = _safetensors(tensors)
            body = decoded
        else:
            if base is None:
                raise ValueError("delta-float16 needs the base model")
            decoded = _safetensors({n: _delta(tensors[n], base[n]) for n in tensors})
            body = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(_shuffle(decoded))
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
        decoded: bytes | memoryview = body
        dtype: np.dtype[np.generic] = np.dtype(np.float32)
        if header.encoding is not Encoding.FLOAT32:
            decoded, dtype = _unpack(body, header.decoded_bytes), np.dtype(np.float16)
        pieces = flat_form(self.layout, dtype).find(np.frombuffer(decoded, np.uint8), dtype)
        if pieces is None:
            tensors = self._parse(header, decoded, dtype)
            pieces = [tensors[spec.name].ravel() for spec in self.layout]
        elif sha256_hex(decoded) != header.sha256:
            raise ProtocolError(RejectReason.WRONG_DIGEST, "the body is not what its header says")
        flat = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return header, cast("NDArray[np.floating]", flat)

    def _split(self, payload: bytes | memoryview) -> tuple[TensorHeader, memoryview]:
        if len(payload) > self.max_payload_bytes:
            raise ProtocolError(RejectReason.TOO_LARGE, f"payload of {len(payload)} bytes")
        head = head_bytes(payload)
        try:
            header = msgspec.json.decode(head[_PREFIX.size :], type=TensorHeader)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProtocolError(RejectReason.MALFORMED, f"header: {error}"[:300]) from error
        return header, memoryview(payload)[len(head) :]

    def _parse(
        self, header: TensorHeader, decoded: bytes | memoryview, dtype: np.dtype[np.generic]
    ) -> Parameters:
        if len(decoded) != header.decoded_bytes or sha256_hex(decoded) != header.sha256:
            raise ProtocolError(RejectReason.WRONG_DIGEST, "the body is not what its header says")
        try:
            tensors = safetensors.numpy.load(bytes(decoded))
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ProtocolError(RejectReason.MALFORMED, f"safetensors: {error}"[:300]) from error
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


def _unpack(body: bytes | memoryview, decoded_bytes: int) -> bytes:
    """The unshuffled content of a zstd body, which must be one frame of exactly that length.

    The frame's own claim is checked first: the library allocates what the frame says.
    """
    try:
        frame = zstandard.get_frame_parameters(body)
        if frame.content_size != decoded_bytes or decoded_bytes % 2:
            raise ProtocolError(
                RejectReason.MALFORMED, f"the frame holds {frame.content_size} bytes"
            )
        data = zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(RejectReason.MALFORMED, f"zstd: {error}") from error
    return _unshuffle(data)
