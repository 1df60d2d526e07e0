import struct
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_bundle import PERSONAL, SHARED, make_bundle

from pfedfrz_protocol import (
    Encoding,
    EncodingOverflow,
    Group,
    ModelLabel,
    Parameters,
    ProtocolError,
    RejectReason,
    SharedCodec,
    TensorSpec,
    UpdateLabel,
    sha256_hex,
    tensors_digest,
)

CODEC = SharedCodec.for_manifest(make_bundle().manifest)
LABEL = UpdateLabel("device-1", "boot1", 7, 100, "0" * 64)


def tensors(seed: int, scale: float = 1.0) -> Parameters:
    random = np.random.default_rng(seed)
    return {n: (scale * random.normal(size=s)).astype(np.float32) for n, s in SHARED.items()}


def pack(header: dict[str, object], body: bytes) -> bytes:
    encoded = msgspec.json.encode(header)
    return struct.pack("<4sBI", b"PFZT", 1, len(encoded)) + encoded + body


def header_for(body: bytes, encoding: str = "float32", **changes: object) -> dict[str, object]:
    header: dict[str, object] = {
        "encoding": encoding,
        "decoded_bytes": len(body),
        "sha256": sha256_hex(body),
        "label": {"type": "model", "version": 1},
    }
    return {**header, **changes}


def test_float32_comes_back_bit_for_bit() -> None:
    sent = tensors(0)
    header, received = CODEC.decode(CODEC.encode(sent, LABEL))
    assert header.label == LABEL
    assert header.encoding is Encoding.FLOAT32
    assert list(received) == [spec.name for spec in CODEC.layout]
    for name in sent:
        np.testing.assert_array_equal(received[name], sent[name])


@given(st.integers(0, 1000), st.floats(1e-4, 10))
def test_delta_float16_keeps_the_step_to_float16s_accuracy(seed: int, scale: float) -> None:
    base, step = tensors(seed), tensors(seed + 1, scale)
    sent = {name: base[name] + step[name] for name in base}
    payload = CODEC.encode(sent, LABEL, Encoding.DELTA_FLOAT16, base)
    _, received = CODEC.decode(payload, base)
    for name in sent:
        error = np.abs(received[name] - sent[name])
        bound = np.abs(sent[name] - base[name]) * 2**-10 + 1e-7 + np.abs(sent[name]) * 2**-23
        assert (error <= bound).all()


def test_delta_float16_is_smaller_than_float32_for_a_real_step() -> None:
    random = np.random.default_rng(0)
    manifest = make_bundle().manifest
    large = SharedCodec(
        tuple(msgspec.structs.replace(s, shape=(40_000,)) for s in manifest.layout(Group.SHARED))
    )
    base = {s.name: random.normal(size=s.shape).astype(np.float32) for s in large.layout}
    sent = {n: b + (1e-3 * random.normal(size=b.shape)).astype(np.float32) for n, b in base.items()}
    small = large.encode(sent, LABEL, Encoding.DELTA_FLOAT16, base)
    assert len(small) < 0.5 * len(large.encode(sent, LABEL))


def test_a_step_beyond_float16_is_said_before_it_is_sent() -> None:
    base = tensors(0)
    with pytest.raises(EncodingOverflow):
        CODEC.encode(
            {n: b + np.float32(1e6) for n, b in base.items()}, LABEL, Encoding.DELTA_FLOAT16, base
        )


def test_nan_passes_the_codec_because_validation_judges_values() -> None:
    base = tensors(0)
    bad = {n: np.full_like(b, np.nan) for n, b in base.items()}
    for encoding in (Encoding.FLOAT32, Encoding.DELTA_FLOAT16):
        _, received = CODEC.decode(CODEC.encode(bad, LABEL, encoding, base), base)
        assert all(np.isnan(array).all() for array in received.values())
    with pytest.raises(EncodingOverflow):
        CODEC.encode(bad, LABEL, Encoding.DELTA_INT8, base)


@given(st.integers(0, 1000), st.floats(1e-4, 10))
def test_delta_int8_is_wrong_by_half_a_level_at_most(seed: int, scale: float) -> None:
    base, step = tensors(seed), tensors(seed + 1, scale)
    sent = {name: base[name] + step[name] for name in base}
    payload = CODEC.encode(sent, LABEL, Encoding.DELTA_INT8, base)
    header, received = CODEC.decode(payload, base)
    assert header.encoding is Encoding.DELTA_INT8
    largest = max(float(np.abs(sent[name] - base[name]).max()) for name in base)
    for name in sent:
        error = np.abs(received[name] - sent[name])
        bound = largest * (0.5 / 127 + 2**-10) + 1e-7 + np.abs(sent[name]) * 2**-22
        assert (error <= bound).all()
    # The coordinator's way to read it gives the same differences.
    _, flat = CODEC.decode_flat(payload)
    start = 0
    for spec in CODEC.layout:
        piece = flat[start : start + spec.elements].astype(np.float32).reshape(spec.shape)
        np.testing.assert_array_equal(base[spec.name] + piece, received[spec.name])
        start += spec.elements


def test_delta_int8_is_half_of_delta_float16() -> None:
    random = np.random.default_rng(0)
    large = SharedCodec((TensorSpec("w", (400, 300), "float32"),))
    base = {"w": random.normal(size=(400, 300)).astype(np.float32)}
    sent = {"w": base["w"] + (1e-3 * random.standard_t(3, size=(400, 300))).astype(np.float32)}
    sizes = {e: len(large.encode(sent, LABEL, e, base)) for e in Encoding}
    assert sizes[Encoding.DELTA_INT8] < 0.55 * sizes[Encoding.DELTA_FLOAT16]


def eighths(**changes: np.ndarray) -> tuple[dict[str, object], bytes]:
    numbers = sum(spec.elements for spec in CODEC.layout)
    parts = {"delta": np.ones(numbers, np.int8), "scale": np.ones(1, np.float32), **changes}
    decoded = safetensors.numpy.save(parts)
    body = zstandard.ZstdCompressor().compress(decoded)
    header = header_for(decoded, "delta-int8")
    return header, body


@pytest.mark.parametrize(
    "changes",
    [
        {"delta": np.ones(3, np.int8)},
        {"delta": np.ones(26, np.uint8)},
        {"scale": np.ones(2, np.float32)},
        {"scale": np.ones(1, np.float16)},
        {"scale": np.ones((), np.float32)},
        {"more": np.ones(1, np.float32)},
    ],
)
def test_eighths_of_another_form_are_refused(changes: dict[str, np.ndarray]) -> None:
    for read in (lambda p: CODEC.decode(p, tensors(0)), CODEC.decode_flat):
        with pytest.raises(ProtocolError) as caught:
            read(pack(*eighths(**changes)))
        assert caught.value.reason in (RejectReason.WRONG_TENSORS, RejectReason.TOO_LARGE)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 3e38])
def test_a_scale_that_is_no_number_reaches_the_validation_as_such(scale: float) -> None:
    _, flat = CODEC.decode_flat(pack(*eighths(scale=np.full(1, scale, np.float32))))
    assert not np.isfinite(flat).any()


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_personal_tensor_cannot_be_encoded(encoding: Encoding) -> None:
    base = tensors(0)
    personal = {n: np.zeros(s, np.float32) for n, s in PERSONAL.items()}
    for attempt in ({**base, **personal}, personal, {}):
        with pytest.raises(ProtocolError) as caught:
            CODEC.encode(attempt, LABEL, encoding, {**base, **personal})
        assert caught.value.reason is RejectReason.WRONG_TENSORS


def test_a_personal_tensor_is_not_accepted_either() -> None:
    body = safetensors.numpy.save({n: np.zeros(s, np.float32) for n, s in PERSONAL.items()})
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode(pack(header_for(body), body))
    assert caught.value.reason is RejectReason.WRONG_TENSORS


def test_the_digest_depends_on_names_and_bits_only() -> None:
    one = tensors(0)
    assert tensors_digest(one) == tensors_digest(dict(reversed(one.items())))
    assert tensors_digest(one) != tensors_digest(tensors(1))


def good_body() -> bytes:
    return safetensors.numpy.save(tensors(0))


def wrong_shape() -> bytes:
    return safetensors.numpy.save({**tensors(0), "head.bias": np.zeros(4, np.float32)})


def wrong_dtype() -> bytes:
    return safetensors.numpy.save({n: t.astype(np.float64) for n, t in tensors(0).items()})


def zstd_bomb() -> tuple[dict[str, object], bytes]:
    body = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    return header_for(b"", "delta-float16", decoded_bytes=208), body


def undeclared_zstd() -> tuple[dict[str, object], bytes]:
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    body = stream.compress(bytes(208)) + stream.flush()
    return header_for(bytes(208), "delta-float16"), body


R = RejectReason
CASES: list[tuple[str, bytes, RejectReason]] = [
    ("nothing", b"", R.MALFORMED),
    ("short", b"PFZT\x01", R.MALFORMED),
    ("magic", b"XXXX" + CODEC.encode(tensors(0), LABEL)[4:], R.MALFORMED),
    ("version", b"PFZT\x09" + CODEC.encode(tensors(0), LABEL)[5:], R.MALFORMED),
    ("header length", struct.pack("<4sBI", b"PFZT", 1, 1 << 30), R.MALFORMED),
    ("header not JSON", struct.pack("<4sBI", b"PFZT", 1, 3) + b"{]}", R.MALFORMED),
    ("deep header", struct.pack("<4sBI", b"PFZT", 1, 50_000) + b"[" * 50_000, R.MALFORMED),
    ("unknown field", pack({**header_for(good_body()), "extra": 1}, good_body()), R.MALFORMED),
    ("unknown encoding", pack(header_for(good_body(), "float8"), good_body()), R.MALFORMED),
    ("no tensors", pack(header_for(b"{}"), b"{}"), R.MALFORMED),
    ("oversized", bytes(CODEC.max_payload_bytes + 1), R.TOO_LARGE),
    (
        "declared too large",
        pack(header_for(good_body(), decoded_bytes=1 << 40), good_body()),
        R.TOO_LARGE,
    ),
    ("trailing bytes", CODEC.encode(tensors(0), LABEL) + b"x", R.WRONG_DIGEST),
    ("cut", CODEC.encode(tensors(0), LABEL)[:-1], R.WRONG_DIGEST),
    ("digest", pack(header_for(good_body(), sha256="0" * 64), good_body()), R.WRONG_DIGEST),
    ("shape", pack(header_for(wrong_shape()), wrong_shape()), R.WRONG_TENSORS),
    ("dtype", pack(header_for(wrong_dtype()), wrong_dtype()), R.WRONG_TENSORS),
    ("not zstd", pack(header_for(bytes(208), "delta-float16"), bytes(208)), R.MALFORMED),
    ("zstd bomb", pack(*zstd_bomb()), R.MALFORMED),
    ("zstd of unknown length", pack(*undeclared_zstd()), R.MALFORMED),
]


@pytest.mark.parametrize(("payload", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_bad_payload_is_refused_with_its_reason(payload: bytes, reason: RejectReason) -> None:
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode(payload, tensors(0))
    assert caught.value.reason is reason


def test_a_difference_without_its_base_is_refused() -> None:
    base = tensors(0)
    payload = CODEC.encode(tensors(1), LABEL, Encoding.DELTA_FLOAT16, base)
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode(payload)
    assert caught.value.reason is RejectReason.WRONG_BASE


@given(st.binary(max_size=600), st.integers(0, 2000), st.sampled_from(list(Encoding)))
def test_spliced_payloads_never_do_worse_than_a_protocol_error(
    noise: bytes, position: int, encoding: Encoding
) -> None:
    base = tensors(0)
    payload = CODEC.encode(tensors(1), LABEL, encoding, base)
    cut = position % len(payload)
    for data in (payload[:cut] + noise, payload[:cut] + noise + payload[cut:], noise):
        try:
            _, received = CODEC.decode(data, base)
        except ProtocolError:
            continue
        assert set(received) == set(SHARED)


def test_an_empty_shared_group_travels_too() -> None:
    codec = SharedCodec(())
    for encoding in Encoding:
        _, received = codec.decode(codec.encode({}, ModelLabel(3), encoding, {}), {})
        assert received == {}


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_any_float32_values_come_back_bit_for_bit(values: np.ndarray) -> None:
    sent = {"head.weight": values, "head.bias": np.zeros(3, np.float32)}
    _, received = CODEC.decode(CODEC.encode(sent, LABEL))
    assert received["head.weight"].tobytes() == values.tobytes()


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_scalar_parameter_stays_a_scalar(encoding: Encoding) -> None:
    codec = SharedCodec((TensorSpec("temperature", ()),))
    base, sent = ({"temperature": np.array(v, np.float32)} for v in (1.0, 1.5))
    _, received = codec.decode(codec.encode(sent, LABEL, encoding, base), base)
    assert received["temperature"].shape == ()
    assert received["temperature"] == np.float32(1.5)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_model_that_shares_nothing_has_updates_of_nothing(encoding: Encoding) -> None:
    nothing = SharedCodec(())
    payload = nothing.encode({}, LABEL, encoding, {})
    assert nothing.decode(payload, {})[1] == {}
    assert len(nothing.decode_flat(payload)[1]) == 0


def test_header_that_lies_about_the_length_is_refused_by_both_ways_of_decoding() -> None:
    head, _, body = CODEC.encode(tensors(0), LABEL).partition(b'"decoded_bytes":')
    length, comma, rest = body.partition(b",")
    lie = head + b'"decoded_bytes":' + str(int(length) + 1).encode() + comma + rest
    decode: Callable[..., object]
    for decode in (CODEC.decode, CODEC.decode_flat):
        with pytest.raises(ProtocolError) as caught:
            decode(lie)
        assert caught.value.reason is RejectReason.WRONG_DIGEST
