"""Plain lines, exactly as they come out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from spoken_watch import SpokenWatch

from pfedfrz_monitor.plain_lines import run_plain
from pfedfrz_monitor.watch import Health
from pfedfrz_protocol import DesiredState, Presence, RejectReason


class EndOfScene(Exception):
    """Nothing more happens."""


def lines_of(
    watch: SpokenWatch, *happenings: Callable[[], None], as_json: bool = False
) -> list[str]:
    """What is told while one thing happens after the other; the clock stands still."""
    out = io.StringIO()
    left = [lambda: None, *happenings]

    def wait(seconds: float) -> None:
        if not left:
            raise EndOfScene
        left.pop(0)()

    watch.lab.view.clock = lambda: 10.0
    with pytest.raises(EndOfScene):
        run_plain(
            watch, {"a": "kit\nchen"}, out=out, as_json=as_json, clock=lambda: 10.0, wait=wait
        )
    return out.getvalue().splitlines()


def bare(lines: list[str]) -> list[str]:
    """Without the date and the time."""
    return [line[21:] for line in lines]


def test_what_was_before_is_one_line_and_what_matters_after_it_another_each() -> None:
    watch = SpokenWatch()
    lab = watch.lab
    lab.control(DesiredState.RUN)
    lab.close(1, 1, 2)
    lab.announce(2, "a", "b")

    def second_round() -> None:
        lab.rejected("b", 2, RejectReason.NOT_FINITE, "a NaN in [red]\x1b[31m")
        lab.close(2, 1, 2, rejected={RejectReason.NOT_FINITE: 1})

    told = lines_of(
        watch,
        lambda: lab.status("a", Presence.OFFLINE),
        second_round,
        lambda: lab.control(DesiredState.PAUSE),
    )
    assert bare(told) == [
        "state     lab: running, round 2 open, 2 of 2 devices online",
        "device    a (kit\\nchen): offline",
        "rejected  b in round 2: not-finite: a NaN in [red]\\x1b[31m",
        "round     2 closed: received -, local -, 1 of 2 accepted, 1 rejected, 0 missing, "
        "1.25 MB up, 2.5 MB down, 1.5 s",
        "control   paused",
    ]
    assert all(line.isprintable() and line[4] == "-" for line in told)


def test_json_is_one_object_a_line_with_the_numbers() -> None:
    watch = SpokenWatch()
    lab = watch.lab
    lab.announce(1, "a")
    first, closed = map(json.loads, lines_of(watch, lambda: lab.close(1, 1, 1), as_json=True))
    assert (first["kind"], first["federation"], first["devices"]) == ("state", "lab", 1)
    assert (closed["kind"], closed["round"], closed["accepted"], closed["at"]) == (
        "round",
        1,
        1,
        10.0,
    )
    assert closed["uplink_bytes"] == 1_250_000


def test_a_round_that_is_opened_again_is_told_and_a_first_opening_is_not() -> None:
    watch = SpokenWatch()
    lab = watch.lab
    told = lines_of(watch, lambda: lab.announce(1, "a"), lambda: lab.announce(1, "a", epoch=2))
    assert [line for line in bare(told) if line.startswith("round")] == [
        "round     round 1 opened again, opening 2, for 1 devices"
    ]


def test_trouble_with_the_watching_is_told_once_and_its_end_too() -> None:
    watch = SpokenWatch()
    fine = watch.health

    def lose() -> None:
        watch.health = Health("mqtt://b", since=9.0, fault="the connection was cut")

    def find() -> None:
        watch.health = fine

    told = lines_of(watch, lose, lambda: None, find)
    assert bare(told)[1:] == [
        "watch     lost mqtt://b: the connection was cut; what is shown is from before",
        "watch     all is well again",
    ]


def test_a_state_without_a_coordinator_says_so() -> None:
    watch = SpokenWatch()
    watch.lab.control(DesiredState.RUN)
    watch.lab.coordinator(Presence.OFFLINE)
    assert bare(lines_of(watch)) == [
        "state     lab: running, coordinator offline, no round yet, 0 of 0 devices online"
    ]


def test_a_run_told_once_more_has_its_own_times_and_an_end() -> None:
    watch = SpokenWatch()
    watch.lab.view.clock = lambda: 86_400.0
    over = False

    def wait(seconds: float) -> None:
        nonlocal over
        watch.lab.control(DesiredState.STOP)
        over = True

    out = io.StringIO()
    run_plain(
        watch, {}, out=out, as_json=True, settle_s=0.0, clock=lambda: 9e9, wait=wait,
        is_over=lambda: over,
    )  # fmt: skip
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in told] == ["state", "control", "state"]
    assert {line["at"] for line in told} == {86_400.0}
    assert [told[0]["state"], told[2]["state"]] == ["not heard yet", "over"]


def test_it_ends_by_itself_when_the_watch_has_given_up() -> None:
    watch = SpokenWatch()
    watch.health = Health("mqtt://b", fault="another monitor", heard=True, given_up=True)
    out = io.StringIO()
    run_plain(watch, {}, out=out, clock=lambda: 10.0, wait=lambda seconds: None)
    assert bare(out.getvalue().splitlines())[-1] == "watch     another monitor"
