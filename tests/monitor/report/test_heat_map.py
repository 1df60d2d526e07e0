from __future__ import annotations

from dataclasses import replace

import pytest

from pfedfrz_monitor.report import Refusal, RunRecord
from pfedfrz_monitor.report.heat_map import HEAT_LEVELS, heat_map, heat_range, shown_devices
from pfedfrz_monitor.report.markup import Element


def cells(drawing: Element) -> list[str]:
    return [node.get("class", "") for node in drawing if node.tag == "rect"]


def test_the_best_is_darkest_and_what_was_not_measured_is_empty(record: RunRecord) -> None:
    first, second, third = record.devices
    devices = (
        replace(first, local=(0.4, 1.0)),
        replace(second, local=(None, float("nan"))),
        replace(third, local=(0.4, 0.7)),
    )
    drawing = heat_map(replace(record, devices=devices), (0.4, 1.0))
    assert cells(drawing) == ["h1", f"h{HEAT_LEVELS}", "h0", "h0", "h1", "h10"]
    titles = [title.text for title in drawing.iter("title")]
    assert titles[1] == "d1, round 2: local 100.0\N{NO-BREAK SPACE}%"
    assert titles[2] == "d2, round 1: not measured"


def test_a_refused_update_is_crossed(record: RunRecord) -> None:
    refused = replace(record, refusals=(Refusal(2, "d3", "late", "", 0, 1.0),))
    assert len([n for n in heat_map(refused, (0.0, 1.0)) if n.tag == "path"]) == 1
    assert not [n for n in heat_map(record, (0.0, 1.0)) if n.tag == "path"]


def test_the_range_is_in_whole_tenths_and_never_empty(record: RunRecord) -> None:
    assert heat_range(record) == pytest.approx((0.1, 0.9))
    same = tuple(replace(device, local=(1.0, 1.0)) for device in record.devices)
    low, high = heat_range(replace(record, devices=same)) or (0.0, 0.0)
    assert low < high
    unmeasured = tuple(replace(device, local=(None, None)) for device in record.devices)
    assert heat_range(replace(record, devices=unmeasured)) is None


def test_of_thousands_those_are_shown_that_somebody_looks_for(record: RunRecord) -> None:
    pattern = record.devices[0]
    many = [replace(pattern, device=f"d{n:04d}", local=(0.9, 0.9)) for n in range(2000)]
    many[1500] = replace(many[1500], attacker=True)
    many[1600] = replace(many[1600], local=(0.2, 0.2))
    large = replace(
        record,
        devices=tuple(many),
        closing=None,
        refusals=(Refusal(1, "d1700", "late", "", 0, 1.0),),
    )
    shown = [device.device for device in shown_devices(large)]
    assert len(shown) == 120
    assert {"d1500", "d1600", "d1700"} <= set(shown)
    assert shown == sorted(shown)


def test_a_long_run_of_many_devices_stays_small(record: RunRecord) -> None:
    pattern = replace(record.devices[0], received=(0.5,) * 1000, local=(0.5,) * 1000)
    large = replace(
        record,
        devices=tuple(replace(pattern, device=f"d{n}") for n in range(300)),
        rounds=tuple(replace(record.rounds[0], round=n + 1) for n in range(1000)),
        closing=None,
    )
    assert len(list(heat_map(large, (0.0, 1.0)).iter())) < 2000
