"""The same for a file, a pipe or a terminal that can show nothing else: a line for what matters.

Lines are plain text without control characters, or one JSON object each, and are flushed one by
one: `pfedfrz monitor | grep rejected` shows them when they happen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

import msgspec

from pfedfrz_protocol import DesiredState, Presence, Purpose
from pfedfrz_protocol.one_line import one_line

from .concerns import concern
from .log_book import Entry, Kind
from .readable import count, duration, percent, size
from .round_view import RoundView
from .view import FederationView
from .watch import Watch

__all__ = ["Happening", "PlainLines", "run_plain"]

_LOOK_S = 0.25
_SETTLE_S = 2.0
"""What is retained comes in the first moment: it is told in one line and not as news."""
_LONGEST = 2000

_ENDS = {Purpose.TRAIN: "closed", Purpose.EVALUATE: "measured the model"}

Fact = str | int | float | None


@dataclass(frozen=True)
class Happening:
    """One thing that matters."""

    at: float
    """Unix seconds."""
    kind: str
    text: str
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def as_text(self) -> str:
        """A line for people, with the local time."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))
        return one_line(f"{when}  {self.kind:<9} {self.text}", _LONGEST)

    def as_json(self) -> str:
        """A line for programs; `at` is Unix seconds."""
        content = {"at": round(self.at, 3), "kind": self.kind, "text": self.text, **self.facts}
        return msgspec.json.encode(content).decode()


class PlainLines:
    """What has happened since the last time that somebody asked."""

    def __init__(self, view: FederationView, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._told = view.log.count
        self._closed = {number for number, here in view.rounds.items() if here.is_closed}

    def news(self, view: FederationView) -> list[Happening]:
        """What is new, oldest first."""
        found = [self._entry(entry) for entry in view.log.since(self._told) if _matters(entry)]
        self._told = view.log.count
        for number, here in view.rounds.items():
            if here.is_closed and number not in self._closed:
                found.append(_closing(here))
        self._closed = {number for number, here in view.rounds.items() if here.is_closed}
        return sorted(found, key=lambda one: one.at)

    def _entry(self, entry: Entry) -> Happening:
        facts: dict[str, Fact] = {}
        text = entry.text
        if entry.round:
            facts["round"] = entry.round
        if entry.device:
            facts["device"] = entry.device
            label = self._labels.get(entry.device)
            where = f" in round {entry.round}" if entry.round else ""
            text = f"{entry.device}{f' ({label})' if label else ''}{where}: {text}"
        return Happening(entry.at, entry.kind.value, text, facts)


def state_of(view: FederationView, at: float) -> Happening:
    """How things are, in one line."""
    words = {DesiredState.RUN: "running", DesiredState.PAUSE: "paused", DesiredState.STOP: "over"}
    desired = words[view.desired] if view.desired else "not heard yet"
    online = sum(d.presence is not Presence.OFFLINE for d in view.devices.values())
    number = max(view.rounds, default=0)
    opened = view.open_round
    where = f"round {number} {'open' if opened else 'closed'}" if number else "no round yet"
    there = count(len(view.devices), "device")
    status = view.coordinator
    if status is not None and status.presence is Presence.OFFLINE and not view.is_over:
        where = f"coordinator offline, {where}"  # what it said last is still retained
    text = f"{view.topics.federation}: {desired}, {where}, {online} of {there} online"
    facts: dict[str, Fact] = {
        "federation": view.topics.federation,
        "state": desired,
        "round": number,
        "devices": len(view.devices),
        "online": online,
    }
    return Happening(at, "state", text, facts)


def _matters(entry: Entry) -> bool:
    # Of rounds it is their end that is told, with its numbers, and that one had to begin anew.
    return entry.kind is not Kind.ROUND or " again" in entry.text


def _closing(here: RoundView) -> Happening:
    brief = here.brief
    if brief is None:
        raise ValueError(f"round {here.number} is not closed")
    parts = [f"received {percent(brief.received_mean)}", f"local {percent(brief.local_mean)}"]
    if brief.purpose is Purpose.TRAIN:
        parts.append(f"{brief.accepted} of {brief.selected} accepted")
        parts.append(f"{brief.rejected} rejected")
    parts += [
        f"{brief.missing} missing",
        f"{size(brief.uplink_bytes)} up",
        f"{size(brief.downlink_bytes)} down",
        duration(brief.duration_s),
    ]
    at = brief.closed_at if here.closed_at is None else here.closed_at
    text = f"{here.number} {_ENDS[brief.purpose]}: {', '.join(parts)}"
    facts = {**msgspec.to_builtins(brief), "closed": True}
    return Happening(at, Kind.ROUND.value, text, facts)


@dataclass
class _Teller:
    out: TextIO
    as_json: bool

    def tell(self, one: Happening) -> None:
        print(one.as_json() if self.as_json else one.as_text(), file=self.out, flush=True)


def run_plain(
    watch: Watch,
    labels: Mapping[str, str],
    *,
    out: TextIO,
    as_json: bool = False,
    settle_s: float = _SETTLE_S,
    clock: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Tell what happens until `wait` or a signal ends it, or all has been told that there will be.

    Returns, too, when nobody reads any more. What comes in the first `settle_s` at most is from
    before; in a run told once more, nothing is.
    """
    teller = _Teller(out, as_json)
    try:
        _follow(watch, labels, teller, settle_s, clock, wait, is_over)
    except BrokenPipeError:
        # `| head` has seen enough: the interpreter must not try to flush at its end.
        if out is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _follow(
    watch: Watch,
    labels: Mapping[str, str],
    teller: _Teller,
    settle_s: float,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    is_over: Callable[[], bool],
) -> None:
    settled_at = clock() + settle_s
    seen = -1
    while clock() < settled_at:
        with watch.reading() as view:
            if watch.health.heard and view.revision == seen:
                break
            seen = view.revision
        wait(_LOOK_S)
    with watch.reading() as view:
        lines = PlainLines(view, labels)
        federation = view.topics.federation
        first = state_of(view, view.clock())  # the run's clock, which is another in a replay
    teller.tell(first)
    trouble = ""
    while True:
        now = concern(watch.health, federation, clock())
        if now != trouble:
            trouble = now
            teller.tell(Happening(clock(), "watch", now or "all is well again"))
        if watch.health.given_up:
            return
        was_last = is_over()
        with watch.reading() as view:
            news = lines.news(view)
            last = state_of(view, view.clock())
        for one in news:
            teller.tell(one)
        if was_last:
            teller.tell(last)
            return
        wait(_LOOK_S)
