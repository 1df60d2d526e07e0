from __future__ import annotations

from dataclasses import replace

import pytest

from pfedfrz_monitor.report import Closing, Moment, RunRecord


def test_totals_include_the_closing_evaluation(record: RunRecord) -> None:
    assert record.uplink_bytes == 505
    assert record.downlink_bytes == 1400
    assert record.accepted == 4
    assert record.classes == 2


def test_attackers_are_not_benign(record: RunRecord) -> None:
    assert [device.device for device in record.benign] == ["d1", "d3"]


def test_moments_name_their_accuracies(record: RunRecord) -> None:
    assert record.devices[0].accuracy(Moment.RECEIVED) == (0.2, 0.6)
    assert record.devices[0].accuracy(Moment.LOCAL) == (0.4, 0.8)


def test_parts_that_do_not_fit_together_are_refused(record: RunRecord) -> None:
    first = record.devices[0]
    with pytest.raises(ValueError, match=r"d1: 1 accuracies \(local\) for 2 rounds"):
        replace(record, devices=(replace(first, local=(0.5,)), *record.devices[1:]))
    with pytest.raises(ValueError, match=r"got \[2, 3\]"):
        replace(record, devices=(replace(first, label_mix=(1.0, 0.0, 0.0)), *record.devices[1:]))
    with pytest.raises(ValueError, match="not one entry per device"):
        replace(record, closing=Closing((0.5,), (0.5,)))
    with pytest.raises(ValueError, match="d1: not one part per round"):
        replace(record, devices=(replace(first, parts=(None,)), *record.devices[1:]))
