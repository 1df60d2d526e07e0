"""The head of the screen: what the federation does, how the open round goes, how the broker is."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from pfedfrz_protocol import DesiredState, Presence, Purpose

from ..device_view import Stage
from ..readable import count, duration, size
from ..round_view import Outcome
from ..view import FederationView
from ..watch import Health
from .pieces import Line, Piece, Tone, fit, meter, width_of

__all__ = ["Rate", "Summary", "head_lines", "summarize"]

_WINDOW_S = 5.0
_METER_MOST = 48
_ROOM_FOR_BROKER = 130


class Rate:
    """What comes in a second, over the last few."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, int]] = []

    def note(self, now_s: float, messages: int, size_bytes: int) -> tuple[float, float]:
        """Messages and bytes a second, these totals included."""
        self._seen = [one for one in self._seen if one[0] >= now_s - _WINDOW_S]
        self._seen.append((now_s, messages, size_bytes))
        first = self._seen[0]
        passed = now_s - first[0]
        if passed <= 0:
            return 0.0, 0.0
        return (messages - first[1]) / passed, (size_bytes - first[2]) / passed


@dataclass(frozen=True)
class Summary:
    """What the head says, taken from the view in one moment."""

    federation: str
    round: int = 0
    is_open: bool = False
    purpose: Purpose = Purpose.TRAIN
    openings: int = 1
    desired: DesiredState | None = None
    coordinator: Presence | None = None
    devices: int = 0
    online: int = 0
    selected: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    """How many of the selected are in which stage, those that are done first."""
    left_s: float | None = None
    """Until the deadline, at most; who came late does not know when the round was opened."""


_ORDER = (
    (Outcome.ACCEPTED.value, Tone.GOOD),
    (Outcome.MEASURED.value, Tone.GOOD),
    (Outcome.REJECTED.value, Tone.BAD),
    (Outcome.FAILED.value, Tone.BAD),
    (Stage.UPLOADING.value, Tone.LOCAL),
    (Stage.READY.value, Tone.LOCAL),
    (Stage.TRAINING.value, Tone.WORK),
    (Stage.SELECTED.value, Tone.DIM),
    (Presence.OFFLINE.value, Tone.WARN),
)
_TONES = dict(_ORDER)
_RANKS = {word: rank for rank, (word, _) in enumerate(_ORDER)}


def summarize(view: FederationView) -> Summary:
    """What the view says now, by its own clock."""
    opened = view.open_round
    newest = view.announcement.round if view.announcement else max(view.rounds, default=0)
    coordinator = view.coordinator.presence if view.coordinator else None
    online = sum(d.presence is not Presence.OFFLINE for d in view.devices.values())
    basis = Summary(
        view.topics.federation,
        newest,
        desired=view.desired,
        coordinator=coordinator,
        devices=len(view.devices),
        online=online,
    )
    if opened is None:
        return basis
    parts = Counter[str]()
    for name in opened.selected:
        cell, device = opened.cells.get(name), view.devices.get(name)
        if cell is not None and cell.outcome not in (None, Outcome.REPORTED):
            parts[cell.outcome.value] += 1
        elif device is None or device.presence is Presence.OFFLINE:
            parts[Presence.OFFLINE.value] += 1
        elif device.stage_round == opened.number and device.stage.value in _RANKS:
            parts[device.stage.value] += 1
        else:
            parts[Stage.SELECTED.value] += 1
    left = None
    if opened.opened_at is not None and opened.openings == 1 and opened.deadline_s:
        left = max(0.0, opened.opened_at + opened.deadline_s - view.clock())
    return Summary(
        basis.federation,
        opened.number,
        True,
        opened.purpose,
        opened.openings,
        view.desired,
        coordinator,
        basis.devices,
        online,
        len(opened.selected),
        tuple(sorted(parts.items(), key=lambda part: _RANKS[part[0]])),
        left,
    )


def head_lines(
    now: Summary, health: Health, rate: tuple[float, float], concern: str, width: int
) -> list[Line]:
    """The head in two lines, and a third where something is wrong."""
    room = max(0, width - 2)
    lines = [_spread(_state(now, room), _broker(health, rate, room), room), _round(now, room)]
    if concern:
        lines.append([("! ", Tone.WARN), (concern, Tone.WARN)])
    return [[(" ", Tone.PLAIN), *fit(line, room)] for line in lines]


def _state(now: Summary, room: int) -> Line:
    if now.desired is DesiredState.PAUSE:
        state: Line = [("‖ ", Tone.WARN), ("paused", Tone.WARN)]
    elif now.desired is DesiredState.STOP:
        state = [("■ ", Tone.DIM), ("over", Tone.DIM)]
    elif now.desired is DesiredState.RUN:
        state = [("● ", Tone.GOOD), ("running", Tone.GOOD)]
    else:
        state = [("○ ", Tone.DIM), ("not heard yet", Tone.DIM)]
    line: Line = [(now.federation, Tone.STRONG), ("  ", Tone.PLAIN), *state]
    if now.coordinator is not None and now.coordinator is not Presence.ONLINE:
        line += [("  coordinator ", Tone.DIM), (now.coordinator.value, Tone.BAD)]
    elif now.coordinator is not None and room >= 76:
        line += [("  coordinator online", Tone.DIM)]
    if now.devices and room >= 56:
        line.append((f"  {now.online:,}/{count(now.devices, 'device')}", Tone.DIM))
    return line


def _broker(health: Health, rate: tuple[float, float], room: int) -> Line:
    speed: Piece = (f"{rate[0]:.0f} msg/s {size(rate[1])}/s", Tone.DIM)
    if health.speed is not None:
        where = health.source if room >= _ROOM_FOR_BROKER else "replay"
        return [(f"{where} x{health.speed:g}", Tone.DIM)]
    if not health.connected:
        word = "not connected" if health.since else "connecting"
        return [("● ", Tone.BAD), (word, Tone.BAD)]
    if room < _ROOM_FOR_BROKER:
        return [("● ", Tone.GOOD), speed]
    since = duration(max(0.0, time.time() - health.since))
    return [("● ", Tone.GOOD), (f"{health.source} for {since}  ", Tone.DIM), speed]


def _round(now: Summary, room: int) -> Line:
    if not now.is_open:
        if not now.round:
            return [("no round has been opened yet", Tone.DIM)]
        said = "the rounds are over" if now.desired is DesiredState.STOP else "none is open"
        return [(f"round {now.round} closed", Tone.STRONG), (f"  {said}", Tone.DIM)]
    word = "measuring" if now.purpose is Purpose.EVALUATE else "round"
    line: Line = [(f"{word} {now.round} ", Tone.STRONG)]
    bar = min(_METER_MOST, max(10, room // 4))
    total = max(1, now.selected)
    line += meter([(number / total, _TONES[word]) for word, number in now.parts], bar)
    words: Line = [(" ", Tone.PLAIN)]
    for word, number in now.parts:
        words.append((f" {number:,} {word}", _TONES[word]))
    line += words
    tail: Line = []
    if now.openings > 1:
        tail.append((f"opened {now.openings} times", Tone.WARN))
    elif now.left_s is not None:
        tail.append((f"{duration(now.left_s)} left", Tone.DIM))
    return _spread(line, tail, room)


def _spread(left: Line, right: Line, room: int) -> Line:
    """Both at their edges; the left one gives way."""
    behind = width_of(right)
    if not right or behind + 10 > room:
        return fit(left, room)
    return [*fit(left, room - behind - 1), (" ", Tone.PLAIN), *right]
