from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_monitor.report import Closing, Moment, RunRecord, final_accuracy, spread_of
from pfedfrz_monitor.report.spread import round_spreads


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_spread_agrees_with_the_standard_library(values: list[float]) -> None:
    spread = spread_of([None, *values, float("nan")])
    assert spread is not None
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.std == pytest.approx(statistics.pstdev(values), abs=1e-9)
    assert (spread.min, spread.max, spread.devices) == (min(values), max(values), len(values))


def test_nothing_measured_has_no_spread() -> None:
    assert spread_of([]) is None
    assert spread_of([None, float("inf")]) is None


def test_rounds_count_benign_devices_that_measured(record: RunRecord) -> None:
    first, second = round_spreads(record, Moment.RECEIVED)
    assert first is not None
    assert second is not None
    assert first.mean == pytest.approx(0.3)
    assert (first.min, first.max, first.devices) == (0.2, 0.4, 2)
    assert (second.mean, second.std, second.devices) == (0.6, 0.0, 1)


def test_the_closing_evaluation_is_final(record: RunRecord) -> None:
    final = final_accuracy(record, Moment.LOCAL)
    assert final.spread is not None
    assert final.spread.mean == pytest.approx(0.9)
    assert final.spread.devices == 2
    assert final.when == "closing evaluation"
    assert final.per_device == (0.8, 0.0, 1.0)


def test_without_it_the_last_measured_round_is_final(record: RunRecord) -> None:
    unmeasured = Closing((None, 0.5, None), (None, 0.5, None))
    for closing in (None, unmeasured):
        final = final_accuracy(replace(record, closing=closing), Moment.RECEIVED)
        assert final.when == "round 2"
        assert final.per_device == (0.6, 0.1, None)


def test_a_run_without_benign_measurements_says_so(record: RunRecord) -> None:
    hostile = tuple(replace(device, attacker=True) for device in record.devices)
    final = final_accuracy(replace(record, devices=hostile), Moment.LOCAL)
    assert final.spread is None
    assert final.when == "never measured"
    assert final.per_device == (None, None, None)
