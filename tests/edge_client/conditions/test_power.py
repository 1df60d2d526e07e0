"""On mains, or with enough in the battery."""

from __future__ import annotations

import logging

import pytest
from system_tree import SystemTree

from pfedfrz_edge.conditions.power import Power

MAINS_ONLY = "power: not on mains"
LOW = "power: not on mains, and the battery is below 60 %"


def test_a_board_without_entries_is_on_mains(tree: SystemTree) -> None:
    rule = Power(None, tree.files)
    assert rule.check() is None
    assert rule.value == "on mains, no battery"


@pytest.mark.parametrize("kind", ["Mains", "USB", "Wireless"])
def test_a_supply_that_is_online_is_mains(tree: SystemTree, kind: str) -> None:
    tree.supply("AC", type=kind, online=1)
    tree.supply("BAT0", type="Battery", capacity=20, status="Charging", present=1)
    for at_least in (None, 60):
        rule = Power(at_least, tree.files)
        assert rule.check() is None
        assert rule.value == "on mains, battery at 20 %"


@pytest.mark.parametrize("kind", ["Mains", "USB", "Wireless"])
def test_what_has_no_battery_is_on_mains_whatever_a_socket_says(
    tree: SystemTree, kind: str
) -> None:
    tree.supply("port", type=kind, online=0)
    tree.supply("mouse", type="Battery", scope="Device", capacity=3, status="Discharging")
    for at_least in (None, 60):
        rule = Power(at_least, tree.files)
        assert rule.check() is None
        assert rule.value == "on mains, no battery"


def test_an_entry_whose_type_cannot_be_read_may_be_a_battery(tree: SystemTree) -> None:
    tree.supply("port", online=0)
    assert Power(None, tree.files).check() == MAINS_ONLY


def test_off_the_mains_the_battery_decides_or_nothing(tree: SystemTree) -> None:
    tree.supply("AC", type="Mains", online=0)
    tree.supply("BAT0", type="Battery", capacity=60, status="Discharging")
    assert Power(None, tree.files).check() == MAINS_ONLY
    assert Power(60, tree.files).check() is None
    tree.supply("BAT0", capacity=59)
    assert Power(60, tree.files).check() == LOW


def test_the_emptiest_of_several_counts(tree: SystemTree) -> None:
    tree.supply("AC", type="Mains", online=0)
    tree.supply("BAT0", type="Battery", capacity=90)
    tree.supply("BAT1", type="Battery", capacity=10)
    rule = Power(60, tree.files)
    assert rule.check() == LOW
    assert rule.value == "not on mains, battery at 10 %"


@pytest.mark.parametrize(
    ("status", "fed"),
    [("Charging", True), ("Full", True), ("Not charging", True),
     ("Discharging", False), ("Unknown", False)],
)  # fmt: skip
def test_without_an_entry_of_mains_the_battery_says(
    tree: SystemTree, status: str, fed: bool
) -> None:
    tree.supply("BAT0", type="Battery", capacity=10, status=status)
    assert (Power(None, tree.files).check() is None) == fed


def test_a_mouse_and_an_empty_slot_are_no_batteries_of_the_board(tree: SystemTree) -> None:
    tree.supply("mouse", type="Battery", scope="Device", capacity=3, status="Discharging")
    tree.supply("BAT1", type="Battery", present=0, capacity=0, status="Unknown")
    assert Power(None, tree.files).check() is None


def test_what_cannot_be_read_is_no_mains_and_an_empty_battery_and_said_once(
    tree: SystemTree, caplog: pytest.LogCaptureFixture
) -> None:
    tree.supply("AC", type="Mains", online="?")
    tree.supply("BAT0", type="Battery", status="Discharging")
    rule = Power(60, tree.files)
    with caplog.at_level(logging.WARNING):
        assert rule.check() == rule.check() == LOW
    assert sorted(record.getMessage() for record in caplog.records) == [
        "/sys/class/power_supply/AC/online cannot be used: '?' is no number",
        "/sys/class/power_supply/BAT0/capacity cannot be used: No such file or directory",
    ]
