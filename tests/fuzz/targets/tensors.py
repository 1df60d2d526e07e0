"""The payload of tensors, by both ways of decoding it, which must agree to the bit."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import safetensors.numpy
import tiny_bundle
import zstandard
from recipe import Recipe

from pfedfrz_protocol import (
    Encoding,
    Group,
    ModelLabel,
    ProtocolError,
    RejectReason,
    SharedCodec,
    UpdateLabel,
    sha256_hex,
)
from pfedfrz_protocol.tensors import TensorHeader, _shuffle

BUNDLE = tiny_bundle.make_bundle()
CODEC = SharedCodec.for_manifest(BUNDLE.manifest)
BASE = BUNDLE.initial_weights(Group.SHARED)
VECTOR = np.concatenate([BASE[spec.name].ravel() for spec in CODEC.layout])
LABELS = (ModelLabel(3), UpdateLabel("me", "boot", 3, 60, "0" * 64))
_PREFIX = struct.Struct("<4sBI")
RAW, FLOAT32, DELTA, FRAME, HEADER, EIGHTHS = range(6)


def framed(header: bytes, body: bytes) -> bytes:
    return _PREFIX.pack(b"PFZT", 1, len(header)) + header + body


def payload_of(recipe: Recipe) -> bytes:
    """The payload that a recipe asks for: raw, or with header and digest that fit the rest."""
    form, choice = recipe.number() % 6, recipe.number()
    label = LABELS[choice & 1]
    rest = recipe.rest()
    if form == RAW:
        return rest
    if form == HEADER:
        return framed(rest, safetensors.numpy.save(BASE))
    decoded, body, encoding = rest, rest, Encoding.FLOAT32
    if form == DELTA:
        decoded = rest[: len(rest) // 2 * 2]
        body = zstandard.ZstdCompressor().compress(_shuffle(decoded))
        encoding = Encoding.DELTA_FLOAT16
    elif form == EIGHTHS:
        body, encoding = zstandard.ZstdCompressor().compress(decoded), Encoding.DELTA_INT8
    elif form == FRAME:  # the frame itself is made up; what it claims is taken over
        encoding = Encoding.DELTA_FLOAT16
        try:
            claimed = zstandard.get_frame_parameters(body).content_size
        except zstandard.ZstdError:
            claimed = len(rest)
        header = TensorHeader(encoding, min(claimed, 1 << 48), sha256_hex(b""), label)
        return framed(msgspec.json.encode(header), body)
    lie = choice >> 4 if choice & 2 else 0  # about the length
    header = TensorHeader(encoding, len(decoded) + lie, sha256_hex(decoded), label)
    return framed(msgspec.json.encode(header), body)


def target(data: bytes) -> None:
    """`decode` and `decode_vector` return the same numbers, or raise for the same reason."""
    with_base = bool(data[1] & 4) if len(data) > 1 else False
    payload = payload_of(Recipe(data))
    outcomes: list[object] = []
    with np.errstate(all="ignore"):
        try:
            header, tensors = CODEC.decode(payload, BASE if with_base else None)
            vector = np.concatenate([tensors[spec.name].ravel() for spec in CODEC.layout])
            outcomes.append((header, vector.tobytes()))
        except ProtocolError as error:
            outcomes.append(error.reason)
        try:
            header, flat = CODEC.decode_flat(payload)
            if header.encoding is not Encoding.FLOAT32:
                if not with_base:
                    return  # the one says that it lacks the base, the other needs none
                flat = VECTOR + flat.astype(np.float32)
            outcomes.append((header, flat.tobytes()))
        except ProtocolError as error:
            outcomes.append(error.reason)
    if outcomes[0] is not RejectReason.WRONG_BASE:  # which the flat form does not ask for
        assert outcomes[0] == outcomes[1], outcomes


def _safetensors(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def bodies() -> dict[str, bytes]:
    """Safetensors content of every class of attack."""
    good = safetensors.numpy.save(BASE)
    table = good[8 : 8 + int.from_bytes(good[:8], "little")]
    data = good[8 + len(table) :]
    nan = {name: np.full_like(array, np.nan) for name, array in BASE.items()}
    half = {name: (0 * array).astype(np.float16) for name, array in BASE.items()}
    return {
        "good": good,
        "halves": safetensors.numpy.save(half),
        "not-a-number": safetensors.numpy.save(nan),
        "truncated": good[:-3],
        "trailing": good + b"x",
        "header-length": struct.pack("<Q", 2**63) + table + data,
        "no-header": b"",
        "deep-json": _safetensors(b"[" * 1500),
        "huge-shape": _safetensors(table.replace(b"[3,4]", b"[4294967296,4294967296,4294967296]"), data),
        "many-extents": _safetensors(table.replace(b"[3,4]", b"[" + b"1," * 200 + b"12]"), data),
        "negative-shape": _safetensors(table.replace(b"[3,4]", b"[-3,-4]"), data),
        "overlapping": _safetensors(table.replace(b"[12,60]", b"[0,48]"), data),
        "bfloat16": _safetensors(table.replace(b"F32", b"BF16"), data[: len(data) // 2]),
        "eight-bits": _safetensors(table.replace(b"F32", b"F8_E4M3"), data[: len(data) // 4]),
        "unknown-dtype": _safetensors(table.replace(b"F32", b"F4"), data),
        "bool": _safetensors(b'{"head.bias":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}', b"abc"),
        "duplicated-keys": _safetensors(
            b'{"head.bias":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"head.bias":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"a"),
        "personal": safetensors.numpy.save(BUNDLE.initial_weights(Group.PERSONAL)),
        "foreign-names": _safetensors('{"١":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'.encode()),
        "metadata": _safetensors(b'{"__metadata__":{"a":"b"}}'),
        "metadata-type": _safetensors(b'{"__metadata__":[]}'),
    }  # fmt: skip


def seeds() -> dict[str, bytes]:
    found = {f"float32-{name}": bytes([FLOAT32, 1]) + body for name, body in bodies().items()}
    for name in ("good", "halves", "truncated", "huge-shape", "bfloat16", "no-header"):
        found[f"delta-{name}"] = bytes([DELTA, 5]) + bodies()[name]
    numbers = sum(spec.elements for spec in CODEC.layout)
    eighths = {"delta": np.zeros(numbers, np.int8), "scale": np.ones(1, np.float32)}
    not_finite = {**eighths, "scale": np.full(1, np.nan, np.float32)}
    found["eighths-good"] = bytes([EIGHTHS, 5]) + safetensors.numpy.save(eighths)
    found["eighths-nan"] = bytes([EIGHTHS, 5]) + safetensors.numpy.save(not_finite)
    found["eighths-huge-shape"] = bytes([EIGHTHS, 5]) + bodies()["huge-shape"]
    found["delta-without-base"] = bytes([DELTA, 1]) + bodies()["halves"]
    found["lying-length"] = bytes([FLOAT32, 1 | 2 | 16]) + bodies()["good"]
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    found["zstd-bomb"] = bytes([FRAME, 5]) + bomb
    found["zstd-claims-petabytes"] = bytes([FRAME, 5]) + bytes.fromhex("28b52ffde0ffffffffffff0f00")
    found["zstd-claims-little"] = bytes([FRAME, 5]) + bytes.fromhex("28b52ffd2002") + bomb[10:]
    found["zstd-two-frames"] = bytes([FRAME, 5]) + 2 * zstandard.compress(b"ab")
    found["zstd-no-size"] = bytes([FRAME, 5]) + zstandard.ZstdCompressor(
        write_content_size=False
    ).compress(bytes(200))
    header = msgspec.json.encode(TensorHeader(Encoding.FLOAT32, 9, "0" * 64, LABELS[0]))
    found["header-good"] = bytes([HEADER, 0]) + header
    found["header-twice"] = bytes([HEADER, 0]) + b'{"encoding":"float32",' + header[1:]
    found["header-deep"] = bytes([HEADER, 0]) + b"[" * 1500
    found["header-negative"] = bytes([HEADER, 0]) + header.replace(b":9", b":-9")
    found["header-bad-utf-8"] = bytes([HEADER, 0]) + header.replace(b"model", b"\xffodel")
    whole = CODEC.encode(BASE, LABELS[1])
    found["raw-good"] = bytes([RAW, 0]) + whole
    found["raw-magic"] = bytes([RAW, 0]) + b"PFZX" + whole[4:]
    found["raw-header-length"] = bytes([RAW, 0]) + whole[:5] + b"\xff\xff\xff\xff" + whole[9:]
    found["raw-truncated"] = bytes([RAW, 0]) + whole[:7]
    return found
