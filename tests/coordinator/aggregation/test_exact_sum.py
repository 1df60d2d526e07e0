"""Exact sums: any order and any grouping, the same bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_coordinator.aggregation.exact_sum import ExactSum

SIZE = 64


def updates(seed: int, clients: int) -> list[tuple[np.ndarray, int]]:
    random = np.random.default_rng(seed)
    bits = random.integers(0, 1 << 16, (clients, SIZE), dtype=np.uint16)
    bits[(bits & 0x7C00) == 0x7C00] = 0  # neither NaN nor infinity
    return [(row.view(np.float16), int(random.integers(1, 1 << 20))) for row in bits]


def added(parts: list[tuple[np.ndarray, int]]) -> ExactSum:
    total = ExactSum(SIZE)
    for halves, samples in parts:
        total.add(halves, samples)
    return total


@given(st.integers(0, 1000), st.integers(2, 12), st.randoms())
def test_order_and_grouping_change_no_bit(seed: int, clients: int, random: object) -> None:
    parts = updates(seed, clients)
    base = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    alone = added(parts).mean(base)
    random.shuffle(parts)  # type: ignore[attr-defined]
    cut = random.randint(1, clients - 1)  # type: ignore[attr-defined]
    first, second = added(parts[:cut]), added(parts[cut:])
    second.merge(first)
    assert second.samples == sum(samples for _, samples in parts)
    assert second.mean(base).tobytes() == alone.tobytes()


def test_the_mean_is_that_of_fractions_rounded_at_the_end() -> None:
    parts = updates(7, 9)
    samples = sum(n for _, n in parts)
    expected = [
        float(sum(Fraction(float(halves[k])) * n for halves, n in parts) / samples)
        for k in range(SIZE)
    ]
    found = added(parts).mean(np.zeros(SIZE, np.float32))
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=2e-7, atol=0)


@pytest.mark.parametrize("value", [65504.0, -65504.0, 2.0**-24, -(2.0**-24)])
def test_the_largest_and_smallest_numbers_neither_overflow_nor_vanish(value: float) -> None:
    total = ExactSum(1)
    most = (1 << 30) - 1
    for _ in range(50):
        total.add(np.array([value], np.float16), most)
    doubled = ExactSum(1)
    for _ in range(17):  # 50 * 2^17 updates, by merging: close to what there is room for
        doubled = ExactSum(1)
        doubled.merge(total)
        doubled.merge(total)
        total = doubled
    assert total.samples == (50 << 17) * most
    with pytest.raises(ValueError, match="samples in all"):
        total.merge(total)
    assert total.mean(np.zeros(1, np.float32))[0] == np.float32(value)


@pytest.mark.parametrize(
    ("halves", "samples"),
    [
        (np.zeros(SIZE + 1, np.float16), 1),
        (np.zeros(SIZE, np.float16), 0),
        (np.zeros(SIZE, np.float16), 1 << 30),
        (np.full(SIZE, np.nan, np.float16), 1),
        (np.full(SIZE, np.inf, np.float16), 1),
    ],
)
def test_what_cannot_be_added_exactly_is_refused_and_changes_nothing(
    halves: np.ndarray, samples: int
) -> None:
    total = added(updates(1, 3))
    base = np.zeros(SIZE, np.float32)
    before = total.mean(base).tobytes()
    with pytest.raises(ValueError, match=r"samples|not finite"):
        total.add(halves, samples)
    assert total.mean(base).tobytes() == before


def test_nothing_and_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        ExactSum(3).mean(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="parameters"):
        ExactSum(3).merge(ExactSum(4))


def test_as_bytes_a_sum_is_the_same_sum() -> None:
    total = added(updates(3, 5))
    data = total.encode()
    assert len(data) == ExactSum.encoded_bytes(SIZE)
    again = ExactSum.decode(data, SIZE)
    assert (again.encode(), again.samples) == (data, total.samples)
    base = np.ones(SIZE, np.float32)
    assert again.mean(base).tobytes() == total.mean(base).tobytes()


def test_the_largest_sums_there_can_be_are_decoded() -> None:
    for value in (65504.0, -65504.0):
        total = ExactSum(1)
        for _ in range(20):
            total.add(np.array([value], np.float16), (1 << 30) - 1)
        assert ExactSum.decode(total.encode(), 1).encode() == total.encode()


@pytest.mark.parametrize(
    ("samples", "low", "high"),
    [
        ((1 << 53) + 1, 0, 0),
        (1, 1 << 31, 0),
        (1, 0, (1 << 9) + 1),
        (1, 0, -(1 << 9) - 1),
        (0, 0, 1),
        (1, 0, -(1 << 63)),
    ],
)
def test_numbers_that_no_sum_has_are_refused(samples: int, low: int, high: int) -> None:
    data = samples.to_bytes(8, "little") + low.to_bytes(4, "little")
    with pytest.raises(ValueError, match="numbers that no sum"):
        ExactSum.decode(data + high.to_bytes(8, "little", signed=True), 1)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_sum_or_a_value_error(data: bytes) -> None:
    for parameters in (0, 1, 3):
        try:
            found = ExactSum.decode(data, parameters)
        except ValueError:
            continue
        assert found.encode() == data
