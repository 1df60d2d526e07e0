"""The hottest zone, with room between too hot and cool enough."""

from __future__ import annotations

import pytest
from system_tree import SystemTree

from pfedfrz_edge.conditions.temperature import Temperature

HOT = "temperature: reached 75 C, goes on below 65 C"


def test_it_stops_at_hot_and_goes_on_only_below_cool(tree: SystemTree) -> None:
    rule = Temperature(75, 65, tree.files)
    said = []
    for millidegrees in (70_000, 74_999, 75_000, 66_000, 65_000, 64_999, 74_000):
        tree.zone(0, millidegrees)
        said.append(rule.check())
    assert said == [None, None, HOT, HOT, HOT, None, None]
    assert rule.value == "74.0 C"


def test_the_hottest_zone_counts(tree: SystemTree) -> None:
    for number, millidegrees in enumerate((40_000, 90_000, -273_000)):
        tree.zone(number, millidegrees)
    rule = Temperature(75, 65, tree.files)
    assert rule.check() == HOT
    assert rule.value == "90.0 C"


def test_a_zone_that_cannot_be_read_is_left_out_and_said_once(
    tree: SystemTree, caplog: pytest.LogCaptureFixture
) -> None:
    tree.zone(0, 40_000)
    tree.zone(1, "")
    rule = Temperature(75, 65, tree.files)
    assert rule.check() is rule.check() is None
    (record,) = caplog.records
    assert "thermal_zone1/temp cannot be used: '' is no number" in record.getMessage()


def test_without_any_zone_it_waits_and_says_what_to_do(tree: SystemTree) -> None:
    reason = Temperature(75, 65, tree.files).check()
    assert reason is not None
    assert reason.endswith("can be read; take hot_c out of the TOML")
