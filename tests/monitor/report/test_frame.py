from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_monitor.report import Spread
from pfedfrz_monitor.report.frame import accuracy_axis, accuracy_ticks, round_ticks

SHARES = st.tuples(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 1))


@given(st.lists(SHARES, min_size=1, max_size=5))
def test_the_axis_holds_everything_in_whole_tenths(
    values: list[tuple[float, float, float]],
) -> None:
    spreads = [Spread(max(m, low), s, min(m, low), max(m, low), 2) for m, s, low in values]
    low, high = accuracy_axis(spreads)
    assert 0 <= low < high <= 1
    assert round((high - low) * 10) >= 3
    assert low * 10 == pytest.approx(round(low * 10))
    for spread in spreads:
        assert low - 1e-6 <= spread.min <= spread.max <= high + 1e-6


@given(st.integers(0, 2), st.integers(0, 5000), st.integers(4, 14))
def test_ticks_are_few_ascending_and_hold_both_ends(first: int, span: int, most: int) -> None:
    ticks = round_ticks(first, first + span, most)
    assert ticks[0] == first
    assert ticks[-1] == first + span
    assert len(ticks) <= most + 1
    assert all(a < b for a, b in pairwise(ticks))


@given(st.integers(0, 10), st.integers(0, 10))
def test_accuracy_ticks_are_few_and_reach_the_top(one: int, other: int) -> None:
    low, high = sorted((one / 10, other / 10))
    ticks = accuracy_ticks(low, high)
    assert ticks[-1] == high
    assert low <= ticks[0]
    assert len(ticks) <= 6


@pytest.mark.parametrize(
    ("worst", "best", "axis"),
    [(0.91, 0.99, (0.7, 1.0)), (0.33, 0.95, (0.2, 1.0)), (0.0, 0.05, (0.0, 0.3))],
)
def test_the_axis_ends_on_lines(worst: float, best: float, axis: tuple[float, float]) -> None:
    low, high = accuracy_axis([Spread((worst + best) / 2, 0.0, worst, best, 2)])
    assert (low, high) == pytest.approx(axis)
    assert accuracy_ticks(low, high)[0] == pytest.approx(low)
