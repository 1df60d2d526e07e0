"""Numbers that are read where they lie are the same to the bit as those of the general way."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from tiny_bundle import make_bundle

from pfedfrz_protocol import (
    Encoding,
    Parameters,
    ProtocolError,
    RejectReason,
    SharedCodec,
    TensorHeader,
    UpdateLabel,
    add_halves,
    halves_square,
    sha256_hex,
)
from pfedfrz_protocol.flat_tensors import flat_form
from pfedfrz_protocol.tensors import MAGIC, VERSION

CODEC = SharedCodec.for_manifest(make_bundle().manifest)
LABEL = UpdateLabel("me", "boot", 3, 100, "a" * 64)
EVERY_HALF = np.arange(1 << 16, dtype=np.uint16)


def tensors(seed: int, scale: float = 1.0) -> Parameters:
    random = np.random.default_rng(seed)
    return {
        spec.name: (scale * random.standard_normal(spec.shape)).astype(np.float32)
        for spec in CODEC.layout
    }


def joined(values: Parameters) -> np.ndarray:
    return np.concatenate([values[spec.name].ravel() for spec in CODEC.layout])


def test_whole_weights_come_out_as_they_went_in() -> None:
    values = tensors(1)
    header, numbers = CODEC.decode_flat(CODEC.encode(values, LABEL))
    assert header.label == LABEL
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, joined(values))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 10.0])
def test_differences_added_to_the_base_are_what_decode_gives(scale: float) -> None:
    base = tensors(2)
    step = tensors(3, scale)
    new = {name: base[name] + step[name] for name in base}
    payload = CODEC.encode(new, LABEL, Encoding.DELTA_FLOAT16, base)
    _, slow = CODEC.decode(payload, base)
    _, numbers = CODEC.decode_flat(memoryview(payload))
    assert numbers.dtype == np.float16
    out = np.empty(numbers.size, np.float32)
    add_halves(joined(base), numbers.view(np.uint16), out)
    np.testing.assert_array_equal(out, joined(slow))


def test_every_half_is_added_as_numpy_adds_it() -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal(EVERY_HALF.size).astype(np.float32)
    out = np.empty_like(base)
    add_halves(base, EVERY_HALF, out)
    with np.errstate(invalid="ignore"):
        expected = base + EVERY_HALF.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(out, expected)


def test_the_square_is_that_of_numpy_and_not_finite_with_a_number_that_is_not() -> None:
    halves = np.random.default_rng(1).standard_normal(100_000).astype(np.float16)
    expected = float((halves.astype(np.float64) ** 2).sum())
    assert halves_square(halves.view(np.uint16)) == pytest.approx(expected, rel=1e-6)
    largest = np.full(100_000, np.finfo(np.float16).max, np.float16)
    assert np.isfinite(halves_square(largest.view(np.uint16)))
    for odd in (np.nan, np.inf, -np.inf):
        halves[77_777] = odd
        assert not np.isfinite(halves_square(halves.view(np.uint16)))


def rewritten(values: Parameters, metadata: dict[str, str]) -> bytes:
    """A payload of the right tensors whose safetensors header is another than usual."""
    body = safetensors.numpy.save(values, metadata)
    header = msgspec.json.encode(TensorHeader(Encoding.FLOAT32, len(body), sha256_hex(body), LABEL))
    return MAGIC + bytes([VERSION]) + len(header).to_bytes(4, "little") + header + body


def test_another_form_of_the_same_tensors_goes_the_general_way() -> None:
    values = tensors(4)
    _, numbers = CODEC.decode_flat(rewritten(values, {"by": "somebody else"}))
    np.testing.assert_array_equal(numbers, joined(values))


def test_other_tensors_of_the_same_size_are_refused() -> None:
    values = tensors(5)
    name = next(iter(values))
    values[name.replace("head", "tail")] = values.pop(name)
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode_flat(rewritten(values, {}))
    assert caught.value.reason is RejectReason.WRONG_TENSORS


def test_a_flipped_bit_is_a_wrong_digest() -> None:
    payload = bytearray(CODEC.encode(tensors(6), LABEL))
    payload[-3] ^= 1
    with pytest.raises(ProtocolError) as caught:
        CODEC.decode_flat(bytes(payload))
    assert caught.value.reason is RejectReason.WRONG_DIGEST


def test_the_form_names_every_number_once() -> None:
    form = flat_form(CODEC.layout, np.dtype(np.float32))
    places = [place for piece in form.pieces for place in range(piece.start, piece.stop)]
    assert sorted(places) == list(range(form.numbers))
    assert json.loads(form.header[8:])
