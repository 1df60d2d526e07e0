"""The protocol once more, from docs/protocol.md alone: nothing of pfedfrz is imported here.

It is slow and small, and there to prove that the page says enough. Names of refusals are those of
the page's table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CHUNK = 262_144
BLOCK = 4096
TAIL = len(',"signature":""}') + 86
Json = dict[str, Any]
Layout = Sequence[tuple[str, tuple[int, ...]]]
Numbers = dict[str, list[float]]


class RefusedError(Exception):
    """Bytes that are not to be believed; the argument is the reason."""


# Signatures


def _statement(purpose: str, data: bytes) -> bytes:
    return b"pfedfrz/v1/" + purpose.encode() + b"\n" + data


def sign(seed: bytes, purpose: str, data: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_statement(purpose, data))


def public_key(seed: bytes) -> str:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()


def is_signed(key: str, purpose: str, data: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            signature, _statement(purpose, data)
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def leads(trusted: str, claimed: str, successions: Sequence[Json], owner: str) -> bool:
    key = trusted
    for link in successions[:8]:
        if key == claimed:
            break
        signature = bytes.fromhex(link["signature"])
        if link["previous"] == key and is_signed(
            key, f"succession/{owner}", link["successor"].encode(), signature
        ):
            key = link["successor"]
    return key == claimed


# JSON


def write_message(message: Json, topic: str, seed: bytes) -> bytes:
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    text = base64.urlsafe_b64encode(sign(seed, f"message/{topic}", body)).rstrip(b"=")
    return body[:-1] + b',"signature":"' + text + b'"}'


def read_message(payload: bytes, topic: str, key: str) -> Json:
    if len(payload) > 4_194_304:
        raise RefusedError("too-large")
    tail = payload[-TAIL:]
    if len(payload) <= TAIL or tail[:14] != b',"signature":"' or tail[-2:] != b'"}':
        raise RefusedError("not-signed")
    try:
        signature = base64.b64decode(tail[14:-2] + b"==", b"-_", validate=True)
    except binascii.Error:
        raise RefusedError("not-signed") from None
    if len(signature) != 64:
        raise RefusedError("not-signed")
    body = payload[:-TAIL] + b"}"
    try:
        message = json.loads(body)
    except ValueError:
        raise RefusedError("malformed") from None
    if not is_signed(key, f"message/{topic}", body, signature):
        raise RefusedError("wrong-signature")
    assert isinstance(message, dict)
    return message


def read_grant(payload: bytes, topic: str, key: str) -> Json:
    """A grant, with the bounds of its table."""

    def is_number(value: object) -> bool:
        return type(value) is int and 0 <= value <= 999_999_999

    message = read_message(payload, topic, key)
    spans = message.get("chunks", [])
    fits = (
        message.get("type") == "grant"
        and set(message) <= {"type", "round", "epoch", "chunks"}
        and is_number(message.get("round"))
        and is_number(message.get("epoch"))
        and isinstance(spans, list)
        and len(spans) <= 1000
        and all(len(span) == 2 and all(map(is_number, span)) for span in spans)
    )
    if not fits:
        raise RefusedError("malformed")
    return message


# Chunks


def chunks_of(payload: bytes) -> list[bytes]:
    return [payload[at : at + CHUNK] for at in range(0, max(1, len(payload)), CHUNK)]


def transfer_of(payload: bytes) -> Json:
    return {"payload_bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}


def granted(spans: Sequence[Sequence[int]], count: int) -> list[int]:
    if not spans:
        return list(range(count))
    return [n for n in range(count) if any(first <= n <= last for first, last in spans)]


# Tensors


def _count(shape: Sequence[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _float16(value: float) -> float:
    return float(struct.unpack("<e", struct.pack("<e", value))[0])


_TYPES = {"F32": ("f", 4), "F16": ("e", 2), "I8": ("b", 1)}
Table = dict[str, tuple[str, tuple[int, ...], list[float]]]


def write_safetensors(tensors: Table) -> bytes:
    """The canonical form: larger types first, then by name; the header padded to 8 bytes."""
    names = sorted(tensors, key=lambda name: (-_TYPES[tensors[name][0]][1], name.encode()))
    header, body = Json(), b""
    for name in names:
        kind, shape, numbers = tensors[name]
        data = struct.pack(f"<{len(numbers)}{_TYPES[kind][0]}", *numbers)
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def read_safetensors(data: bytes) -> Table:
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        tensors = Table()
        for name, entry in header.items():
            letter, size = _TYPES[entry["dtype"]]
            first, last = entry["data_offsets"]
            numbers = struct.unpack(
                f"<{(last - first) // size}{letter}", data[8 + length + first : 8 + length + last]
            )
            tensors[name] = (entry["dtype"], tuple(entry["shape"]), list(numbers))
    except (struct.error, ValueError, KeyError):
        raise RefusedError("malformed") from None
    return tensors


def model_digest(layout: Layout, tensors: Numbers) -> str:
    table: Table = {name: ("F32", tuple(shape), tensors[name]) for name, shape in layout}
    return hashlib.sha256(write_safetensors(table)).hexdigest()


def shuffle(data: bytes) -> bytes:
    return data[0::2] + data[1::2]


def unshuffle(data: bytes) -> bytes:
    half = len(data) // 2
    return bytes(byte for pair in zip(data[:half], data[half:], strict=True) for byte in pair)


@dataclass(frozen=True)
class Head:
    """What is before a body, as bytes and as JSON."""

    raw: bytes
    header: Json


def seal(head: bytes, body: bytes, seed: bytes) -> bytes:
    return head + body + sign(seed, "tensors", head)


def write_head(header: Json) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"PFZT" + struct.pack("<BI", 1, len(text)) + text


def open_sealed(sealed: bytes, key: str) -> tuple[Head, bytes]:
    """Head and body of what `key` has signed."""
    if len(sealed) <= 64:
        raise RefusedError("not-signed")
    payload, signature = sealed[:-64], sealed[-64:]
    if len(payload) < 9 or payload[:5] != b"PFZT\x01":
        raise RefusedError("malformed")
    (length,) = struct.unpack_from("<I", payload, 5)
    if length > 65_536 or 9 + length > len(payload):
        raise RefusedError("malformed")
    raw = payload[: 9 + length]
    if not is_signed(key, "tensors", raw, signature):
        raise RefusedError("wrong-signature")
    try:
        header = json.loads(raw[9:])
    except ValueError:
        raise RefusedError("malformed") from None
    if set(header) != {"encoding", "decoded_bytes", "sha256", "label"}:
        raise RefusedError("malformed")
    return Head(raw, header), payload[9 + length :]


def check_label(header: Json, device: str, round_number: int, base: str) -> None:
    label = header["label"]
    if label["type"] != "update" or label["device"] != device:
        raise RefusedError("malformed")
    if label["round"] != round_number:
        raise RefusedError("late")
    if label["base"] != base:
        raise RefusedError("wrong-base")
    if not 1 <= label["samples"] <= 1_000_000:
        raise RefusedError("samples-exceeded")


def _decoded(header: Json, body: bytes, bound: int) -> bytes:
    length = header["decoded_bytes"]
    if length > bound:
        raise RefusedError("too-large")
    data = body
    if header["encoding"] != "float32":
        if header["encoding"] == "delta-float16" and length % 2:
            raise RefusedError("malformed")
        try:
            if zstandard.get_frame_parameters(body).content_size != length:
                raise RefusedError("malformed")
            data = zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
        except zstandard.ZstdError:
            raise RefusedError("malformed") from None
        if header["encoding"] == "delta-float16":
            data = unshuffle(data)
    if len(data) != length or hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise RefusedError("wrong-digest")
    return data


def read_tensors(
    header: Json, body: bytes, layout: Layout, base: Mapping[str, list[float]] | None = None
) -> Numbers:
    """The float32 numbers of every tensor."""
    bound = 1024 + sum(len(name.encode()) + 256 + 4 * _count(shape) for name, shape in layout)
    found = read_safetensors(_decoded(header, body, bound))
    encoding = header["encoding"]
    if encoding == "delta-int8":
        total = sum(_count(shape) for _, shape in layout)
        blocks = -(-total // BLOCK)
        wanted = {"delta": ("I8", (total,)), "scale": ("F32", (blocks,))}
        if {name: entry[:2] for name, entry in found.items()} != wanted:
            raise RefusedError("wrong-tensors")
        q, scale = found["delta"][2], found["scale"][2]
        steps = [_float16(_float32(n * scale[i // BLOCK])) for i, n in enumerate(q)]
    else:
        kind = "F32" if encoding == "float32" else "F16"
        if {name: entry[:2] for name, entry in found.items()} != {
            name: (kind, tuple(shape)) for name, shape in layout
        }:
            raise RefusedError("wrong-tensors")
        steps = [number for name, _ in layout for number in found[name][2]]
    numbers, at = Numbers(), 0
    for name, shape in layout:
        own = steps[at : at + _count(shape)]
        if encoding != "float32":
            assert base is not None
            own = [_float32(old + step) for old, step in zip(base[name], own, strict=True)]
        if any(number != number or abs(number) == float("inf") for number in own):
            raise RefusedError("not-finite")
        numbers[name], at = own, at + _count(shape)
    return numbers


def write_body(
    encoding: str, layout: Layout, trained: Numbers, base: Mapping[str, list[float]]
) -> tuple[Json, bytes]:
    """Header without label, and body, of trained weights."""
    kind, table = "F32", Table()
    steps = {
        name: [_float32(new - old) for new, old in zip(trained[name], base[name], strict=True)]
        for name, _ in layout
    }
    if encoding == "delta-int8":
        flat = [step for name, _ in layout for step in steps[name]]
        blocks = [flat[at : at + BLOCK] for at in range(0, len(flat), BLOCK)]
        scales = [_float32(max(map(abs, block)) / 127) for block in blocks]
        q = [
            max(-127, min(127, round(_float32(step / (scale or 1)))))
            for block, scale in zip(blocks, scales, strict=True)
            for step in block
        ]
        table = {"delta": ("I8", (len(flat),), list(q)), "scale": ("F32", (len(scales),), scales)}
    else:
        kind = "F32" if encoding == "float32" else "F16"
        source = trained if encoding == "float32" else steps
        table = {name: (kind, tuple(shape), source[name]) for name, shape in layout}
    data = write_safetensors(table)
    header = {
        "encoding": encoding,
        "decoded_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if encoding == "delta-float16":
        data = shuffle(data)
    if encoding != "float32":
        data = zstandard.ZstdCompressor(level=1).compress(data)
    return header, data
