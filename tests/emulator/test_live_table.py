"""What a person sees of a run while it runs, in a terminal and in a file."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

from federation_messages import Speaker
from rich.console import Console

from pfedfrz_emulator.live_table import LiveTable, say
from pfedfrz_protocol import Presence, Purpose, RejectReason

WIDTH = 80


@dataclass
class Screen:
    """A console whose output can be read; narrow, as a redirected one is at most 80 wide."""

    is_terminal: bool = False
    height: int = 25
    out: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.console = Console(
            file=self.out,
            width=WIDTH,
            height=self.height,
            force_terminal=self.is_terminal,
            color_system=None,
            # Nothing of the environment may change what is drawn.
            _environ={},
        )

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def table_of(lab: Speaker, screen: Screen, rounds: int = 10) -> LiveTable:
    return LiveTable(lab.view, frozenset({"a", "b"}), rounds, screen.console)


def test_a_long_line_stays_one_line() -> None:
    screen = Screen()
    text = "note: [962] of 2400 samples " + "were left out " * 20
    say(screen.console, text, "yellow")
    assert screen.lines == [text]


def test_a_closed_round_is_one_line_printed_once() -> None:
    lab, screen = Speaker(), Screen()
    lab.announce(3, "a", "b", "c")
    lab.ready("a", 3, 0.25, 0.5)
    lab.ready("b", 3, 0.75, 1.0)
    lab.ready("c", 3, 0.0, 0.0)  # an attacker: not counted
    with table_of(lab, screen) as table:
        table.refresh()
        assert screen.lines == []
        lab.close(3, 3, 4)
        table.refresh()
        table.refresh()
    assert screen.lines == [
        "round  3/10  received  50.0%  local  75.0%  3/4 updates  1.25 MB up  1.5 s"
    ]


def test_rejected_updates_are_on_the_line_of_their_round() -> None:
    lab, screen = Speaker(), Screen()
    lab.close(1, 2, 3, rejected={RejectReason.NOT_FINITE: 1})
    with table_of(lab, screen, rounds=5) as table:
        table.refresh()
    assert screen.lines == [
        "round 1/5  received   -    local   -    2/3 updates  1.25 MB up  1.5 s  1 rejected"
    ]


def test_the_last_model_is_measured_and_tuned_only_where_the_method_does() -> None:
    lab, screen = Speaker(), Screen()
    lab.announce(2, "a", purpose=Purpose.EVALUATE)
    lab.evaluated("a", 2, 0.5, None)
    lab.close(2, 0, 1, Purpose.EVALUATE)
    with table_of(lab, screen) as table:
        table.refresh()
        lab.announce(3, "a", purpose=Purpose.EVALUATE)
        lab.evaluated("a", 3, 0.5, 0.75)
        lab.close(3, 0, 1, Purpose.EVALUATE)
        table.refresh()
    assert screen.lines == [
        "last model  received  50.0%  (measured, not trained)",
        "last model  received  50.0%  local  75.0%  (tuned on a copy)",
    ]


def drawn(lab: Speaker, height: int = 25) -> list[str]:
    """The lines of the last frame in a terminal."""
    screen = Screen(is_terminal=True, height=height)
    with table_of(lab, screen) as table:
        table.refresh()
    # Each line of a frame that is drawn over or taken away is erased by "\x1b[2K".
    frames = re.split(r"(?:\x1b\[\d*[A-K]|\x1b\[\?\d+[hl]|\r)+", screen.out.getvalue())
    last = [frame for frame in frames if frame.strip()][-1]
    return [line.rstrip() for line in last.splitlines()]


def test_a_terminal_shows_every_device_and_who_attacks() -> None:
    lab = Speaker()
    for name in ("a", "b", "c", "d"):
        lab.status(name)
    lab.announce(3, "a", "b", "c", "d")
    lab.progress("a", 3)
    lab.ready("c", 3, 0.25, 0.5)
    lab.status("b", Presence.OFFLINE)
    lab.status("d", Presence.WAITING, "power: not on mains")
    headline, head, *rows = drawn(lab)
    assert headline == "round 3 of 10 is open"
    assert head.split() == ["device", "now", "received", "local", "loss"]
    assert [row.split() for row in rows] == [
        ["a", "phase", "2/2", "all,", "epoch", "1/3", "-", "-"],
        ["b", "offline", "-", "-"],
        ["c", "attacker", "update", "ready", "25.0%", "50.0%", "1.250"],
        ["d", "attacker", "waiting:", "power:", "not", "on", "mains", "-", "-"],
    ]


def test_the_headline_says_what_is_waited_for() -> None:
    lab = Speaker()
    lab.status("a")
    assert drawn(lab)[0] == "waiting for devices: 1 are there"
    lab.announce(3, "a", epoch=1)
    lab.announce(3, "a", epoch=2)
    assert drawn(lab)[0] == "round 3 of 10 is open, opened 2 times"
    lab.announce(11, "a", epoch=2, purpose=Purpose.EVALUATE)
    assert drawn(lab)[0] == "measuring the last model on every device"


def test_more_devices_than_lines_are_counted() -> None:
    lab = Speaker()
    for number in range(40):
        lab.status(f"device-{number:02}")
    rows = drawn(lab, height=16)
    assert len(rows) < 16
    assert rows[2].split()[0] == "device-00"
    assert rows[-1].split() == ["and", "30", "more"]
