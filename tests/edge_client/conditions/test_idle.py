"""Other programs' use of the processor, and never one's own."""

from __future__ import annotations

from pathlib import Path

from system_tree import SystemTree

from pfedfrz_edge.conditions import SystemFiles
from pfedfrz_edge.conditions.idle import CALM_S, Idle


class Scene:
    """A rule at 30 %, and ticks that go on."""

    def __init__(self, tree: SystemTree) -> None:
        self.tree = tree
        self.now_s = 100.0
        self.idle = self.others = self.own = 1000
        self.rule = Idle(0.3, tree.files, lambda: self.now_s)

    def pass_by(
        self, *, idle: int = 0, others: int = 0, own: int = 0, s: float = 5.0
    ) -> str | None:
        self.now_s += s
        self.idle, self.others, self.own = self.idle + idle, self.others + others, self.own + own
        self.tree.ticks(idle=self.idle, others=self.others, own=self.own)
        return self.rule.check()


def test_it_waits_until_it_has_measured_once(tree: SystemTree) -> None:
    scene = Scene(tree)
    assert scene.pass_by() == "idle: what others use of the CPU is not known yet"
    assert scene.pass_by(idle=99, others=1) is None
    assert scene.rule.value == "others use 1% of the CPU"


def test_own_training_does_not_count_however_much_it_is(tree: SystemTree) -> None:
    scene = Scene(tree)
    scene.pass_by()
    assert scene.pass_by(idle=1, own=990, others=9) is None
    assert scene.rule.value == "others use 1% of the CPU"


def test_others_stop_it_and_the_reason_does_not_change_with_the_number(tree: SystemTree) -> None:
    scene = Scene(tree)
    scene.pass_by()
    reason = scene.pass_by(idle=70, others=30)
    assert reason == "idle: others use 30% of the CPU or more"
    assert scene.pass_by(idle=10, others=90) == reason
    assert scene.rule.value == "others use 90% of the CPU"


def test_it_goes_on_after_a_minute_of_calm_and_not_before(tree: SystemTree) -> None:
    scene = Scene(tree)
    scene.pass_by()
    assert scene.pass_by(others=100)
    assert scene.pass_by(idle=100, s=CALM_S - 1)
    assert scene.pass_by(others=100, s=5)  # and it begins again
    assert scene.pass_by(idle=100, s=CALM_S - 1)
    assert scene.pass_by(idle=100, s=2) is None


def test_two_checks_in_a_row_are_one(tree: SystemTree) -> None:
    scene = Scene(tree)
    scene.pass_by()
    assert scene.pass_by(idle=100) is None
    assert scene.pass_by(others=5, s=0.1) is None  # too short to judge by
    assert scene.pass_by(others=95, s=5)


def test_what_cannot_be_read_makes_it_wait(tree: SystemTree) -> None:
    scene = Scene(tree)
    scene.pass_by()
    assert scene.pass_by(idle=100) is None
    for content in ("", "intr 5", "cpu 1 2", "cpu a b c d e f g h"):
        tree.write("proc/stat", content)
        scene.now_s += 5
        reason = scene.rule.check()
        assert reason is not None
        assert "/proc/stat cannot be read" in reason
    assert scene.pass_by(idle=100) is not None  # the first of two
    assert scene.pass_by(idle=100) is None


def test_the_files_of_this_machine_are_understood() -> None:
    now_s = [0.0]
    rule = Idle(1.0, SystemFiles(Path("/")), lambda: now_s[0])
    rule.check()
    now_s[0] += 5
    sum(range(100_000))
    assert rule.check() is None or rule.value == "others use 100% of the CPU"
    assert rule.value.startswith("others use ")
