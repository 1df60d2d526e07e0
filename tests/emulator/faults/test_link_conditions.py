"""When bytes arrive on a bad link."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_emulator.faults import LinkConditions, LinkPath


def path(seed: int = 0, **conditions: float) -> LinkPath:
    return LinkPath(LinkConditions(**conditions), random.Random(seed))


def test_a_link_as_it_is_takes_no_time() -> None:
    assert LinkConditions().is_plain
    assert path().arrives_s(10**6, 5.0) == 5.0


def test_bandwidth_spreads_what_is_sent_at_once() -> None:
    link = path(bytes_s=32_000)
    assert [link.arrives_s(16_000, 10.0) for _ in range(3)] == [10.5, 11.0, 11.5]
    assert link.arrives_s(3_200, 100.0) == pytest.approx(100.1), "an idle link owes nothing"


def test_latency_delays_everything_and_slows_nothing_down() -> None:
    link = path(bytes_s=32_000, latency_s=0.2)
    assert link.arrives_s(32_000, 0.0) == pytest.approx(1.2)
    assert link.arrives_s(32_000, 0.0) == pytest.approx(2.2)


def test_a_lost_segment_holds_up_what_comes_after_it() -> None:
    lossy = path(bytes_s=1e6, latency_s=0.2, loss=0.5)
    arrivals = [lossy.arrives_s(1000, 0.0) for _ in range(100)]
    assert 30 < lossy.stalls < 70
    assert arrivals[-1] == pytest.approx(0.1 + 0.2 + lossy.stalls * 0.6)


@given(
    seed=st.integers(0, 1000),
    latency_s=st.floats(0, 1),
    jitter_s=st.floats(0, 2),
    loss=st.floats(0, 0.5),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=50),
)
def test_bytes_arrive_in_order_and_never_before_they_were_sent(
    seed: int, latency_s: float, jitter_s: float, loss: float, gaps: list[float]
) -> None:
    link = path(seed, bytes_s=1e5, latency_s=latency_s, jitter_s=jitter_s, loss=loss)
    now_s, before_s = 0.0, 0.0
    for gap in gaps:
        now_s += gap
        arrives_s = link.arrives_s(1448, now_s)
        assert arrives_s >= max(now_s, before_s)
        before_s = arrives_s
