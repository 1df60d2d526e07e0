from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tiny_bundle import SHARED, make_bundle

from pfedfrz_coordinator.flat import flatten, unflatten
from pfedfrz_coordinator.validation import Expected, ValidationPolicy, validate_update
from pfedfrz_protocol import (
    ConfigurationError,
    Encoding,
    ModelLabel,
    Parameters,
    ProtocolError,
    RejectReason,
    SharedCodec,
    UpdateLabel,
    tensors_digest,
)

CODEC = SharedCodec.for_manifest(make_bundle().manifest)
BASE = {n: np.full(s, 0.5, np.float32) for n, s in SHARED.items()}
EXPECTED = Expected("me", 3, tensors_digest(BASE), flatten(BASE, CODEC.layout))
LABEL = UpdateLabel("me", "boot", 3, 100, EXPECTED.base_digest)
POLICY = ValidationPolicy(max_samples=1000, max_update_norm=10.0)


def moved(step: float) -> Parameters:
    return {name: tensor + np.float32(step) for name, tensor in BASE.items()}


def payload(tensors: Parameters | None = None, **changes: object) -> bytes:
    label = msgspec.structs.replace(LABEL, **changes)
    return CODEC.encode(tensors or moved(0.25), label, Encoding.DELTA_FLOAT16, BASE)


def test_a_good_update_keeps_its_numbers_as_they_came_with_samples_and_norm() -> None:
    update = validate_update(payload(), CODEC, EXPECTED, POLICY)
    assert update.samples == 100
    assert update.norm == pytest.approx(0.25 * 15**0.5)
    assert update.numbers.dtype == np.float16
    np.testing.assert_array_equal(update.numbers, np.full(15, 0.25))
    whole = validate_update(CODEC.encode(moved(0.25), LABEL), CODEC, EXPECTED, POLICY)
    assert whole.norm == update.norm
    assert whole.numbers.dtype == np.float32
    np.testing.assert_array_equal(whole.numbers, flatten(moved(0.25), CODEC.layout))


def test_for_an_exact_mean_only_differences_pass() -> None:
    exact = replace(EXPECTED, exact=True)
    assert validate_update(payload(), CODEC, exact, POLICY).numbers.dtype == np.float16
    eighths = CODEC.encode(moved(0.25), LABEL, Encoding.DELTA_INT8, BASE)
    assert validate_update(eighths, CODEC, exact, POLICY).numbers.dtype == np.float16
    with pytest.raises(ProtocolError, match="must send delta-float16") as caught:
        validate_update(CODEC.encode(moved(0.25), LABEL), CODEC, exact, POLICY)
    assert caught.value.reason is RejectReason.WRONG_TENSORS


def test_a_difference_that_takes_a_huge_weight_beyond_float32_is_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    base = {n: np.full(s, largest, np.float32) for n, s in SHARED.items()}
    digest = tensors_digest(base)
    expected = Expected("me", 3, digest, flatten(base, CODEC.layout))
    label = msgspec.structs.replace(LABEL, base=digest)
    step = {n: np.full(s, 60_000, np.float32) for n, s in SHARED.items()}
    zeros = {n: np.zeros(s, np.float32) for n, s in SHARED.items()}
    # One step is lost in the rounding of so large a weight: it stays what it was, and is accepted.
    data = CODEC.encode(step, label, Encoding.DELTA_FLOAT16, zeros)
    assert validate_update(data, CODEC, expected, ValidationPolicy()).samples == 100
    not_finite = {n: np.full(s, np.nan, np.float32) for n, s in SHARED.items()}
    data = CODEC.encode(not_finite, label, Encoding.DELTA_FLOAT16, zeros)
    with pytest.raises(ProtocolError) as caught:
        validate_update(data, CODEC, expected, ValidationPolicy())
    assert caught.value.reason is RejectReason.NOT_FINITE


def with_value(value: float) -> Parameters:
    tensors = moved(0.25)
    tensors["head.bias"][1] = value
    return tensors


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"garbage", RejectReason.MALFORMED),
        (CODEC.encode(BASE, ModelLabel(3)), RejectReason.MALFORMED),
        (payload(device="you"), RejectReason.MALFORMED),
        (payload(round=2), RejectReason.LATE),
        (payload(base="0" * 64), RejectReason.WRONG_BASE),
        (payload(samples=0), RejectReason.SAMPLES_EXCEEDED),
        (payload(samples=1001), RejectReason.SAMPLES_EXCEEDED),
        (payload(with_value(np.nan)), RejectReason.NOT_FINITE),
        (CODEC.encode(with_value(np.inf), LABEL), RejectReason.NOT_FINITE),
        (CODEC.encode(with_value(3e38), LABEL), RejectReason.NORM_EXCEEDED),
        (payload(moved(3.0)), RejectReason.NORM_EXCEEDED),
    ],
)
def test_an_update_that_does_not_fit_is_refused_with_its_reason(
    data: bytes, reason: RejectReason
) -> None:
    with pytest.raises(ProtocolError) as caught:
        validate_update(data, CODEC, EXPECTED, POLICY)
    assert caught.value.reason is reason


def test_without_a_bound_any_finite_step_is_accepted() -> None:
    data = CODEC.encode(with_value(3e38), LABEL)
    assert np.isfinite(validate_update(data, CODEC, EXPECTED, ValidationPolicy()).norm)


def test_flat_and_back_is_the_same() -> None:
    random = np.random.default_rng(0)
    tensors = {n: random.normal(size=s).astype(np.float32) for n, s in SHARED.items()}
    again = unflatten(flatten(tensors, CODEC.layout), CODEC.layout)
    for name in tensors:
        np.testing.assert_array_equal(again[name], tensors[name])


@pytest.mark.parametrize("policy", [{"max_samples": 0}, {"max_update_norm": 0.0}])
def test_an_impossible_policy_is_refused_by_key(policy: dict[str, float]) -> None:
    (key,) = policy
    with pytest.raises(ConfigurationError, match=key):
        ValidationPolicy(**policy)  # type: ignore[arg-type]
