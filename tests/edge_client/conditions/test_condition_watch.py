"""All rules together, and how much of them is said."""

from __future__ import annotations

import logging
import time

import pytest
from system_tree import SystemTree

from pfedfrz_edge.conditions import ConditionSettings, ConditionWatch, watch_conditions


class Told:
    """A rule that says what it is told to, and counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = "a value"
        self.reason: str | None = None
        self.asked = 0

    def check(self) -> str | None:
        self.asked += 1
        return self.reason


class Scene:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.one, self.two = Told("one"), Told("two")
        self.watch = ConditionWatch([self.one, self.two], 5.0, lambda: self.now_s)

    def after(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.watch.look()


def test_it_looks_when_it_is_time_and_asks_every_rule() -> None:
    scene = Scene()
    scene.one.reason = "no"
    assert scene.after(0)
    assert not scene.after(4.9)
    assert (scene.one.asked, scene.two.asked) == (1, 1)
    scene.after(0.1)
    assert (scene.one.asked, scene.two.asked) == (2, 2)
    assert scene.watch.values == {"one": "a value", "two": "a value"}


def test_a_change_is_told_and_reasons_are_one_line() -> None:
    scene = Scene()
    assert not scene.after(0)
    scene.one.reason = "one: no"
    assert scene.after(5)
    scene.two.reason = "two: no"
    assert scene.after(5)
    assert scene.watch.waiting_for == "one: no; two: no"
    assert not scene.after(5)
    scene.one.reason = scene.two.reason = None
    assert scene.after(5)
    assert scene.watch.waiting_for == ""


def test_a_reason_that_comes_and_goes_is_logged_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    with caplog.at_level(logging.INFO):
        for _ in range(350):  # 58 minutes
            scene.one.reason = "one: no"
            scene.after(5)
            scene.one.reason = None
            scene.after(5)
        said = ["training waits: one: no", "training may go on"]
        assert [record.getMessage() for record in caplog.records] == said
        scene.one.reason = "one: no"
        scene.after(200)
        scene.one.reason = None
        scene.after(5)
    assert [record.getMessage() for record in caplog.records] == said * 2


def test_a_reason_that_stays_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.one.reason = "one: no"
    with caplog.at_level(logging.INFO):
        for _ in range(2000):
            scene.after(5)
    assert len(caplog.records) == 1


def test_without_rules_it_never_looks() -> None:
    watch = watch_conditions(ConditionSettings())
    assert watch.due_s == float("inf")
    assert not watch.look()
    assert watch.waiting_for == ""


def test_every_setting_has_its_rule(tree: SystemTree) -> None:
    settings = ConditionSettings(
        others_cpu_below=0.5,
        mains_only=True,
        hot_c=70.0,
        hours=("22:00-06:00",),
        avoid_metered=True,
    )
    tree.zone(0, 71_000)
    tree.supply("AC", type="Mains", online=0)
    tree.supply("BAT0", type="Battery", capacity=20, status="Discharging")
    tree.ticks(idle=1, others=1, own=1)
    tree.write("proc/net/route", "Iface\nppp0 00000000 0 0003 0 0 0 00000000")
    noon = time.strptime("12:00", "%H:%M")
    watch = watch_conditions(settings, tree.files, lambda: 0.0, lambda: noon)
    assert watch.look()
    begins = [reason.partition(":")[0] for reason in watch.waiting_for.split("; ")]
    assert begins == list(watch.values) == ["idle", "power", "temperature", "hours", "metered"]
