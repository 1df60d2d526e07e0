"""What the page is told of a view: rows of plain values, and afterwards only rows that changed.

A picture is brought up to date from the view while the view is held, which takes a look at every
device's revision and a copy of what changed; encoding is done afterwards. So the cost grows with
the messages, not with the federation, and it is paid once for however many pages are open.

Devices are numbered in the order in which they came, and told by that number. All that a person or
a device wrote stays text: the page never makes markup of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from pfedfrz_monitor.device_view import DeviceView
from pfedfrz_monitor.log_book import Entry
from pfedfrz_monitor.round_view import Cell, Outcome, RoundView
from pfedfrz_monitor.view import FederationView
from pfedfrz_monitor.watch import Health
from pfedfrz_protocol import Purpose
from pfedfrz_protocol.one_line import one_line

__all__ = ["MOST_CELLS", "MOST_ENTRIES", "Picture", "encode"]

MOST_CELLS = 60_000
"""Devices times rounds that a page draws one by one; older rounds are told by their numbers."""
MOST_ENTRIES = 300
"""Lines of the log that a page keeps."""
_MOST_LABELS = 1000
_MOST_NAMES = 40_000
"""Of devices that were asked, heard of or not: twice as many as a view has devices."""
_LONGEST_TEXT = 500

Row = list[Any]

_OUTCOMES = {
    None: 0,
    Outcome.REPORTED: 1,
    Outcome.ACCEPTED: 2,
    Outcome.REJECTED: 3,
    Outcome.FAILED: 4,
    Outcome.MEASURED: 5,
}


class Picture:
    """Rows of one federation, as far as they have been told. For one thread at a time."""

    def __init__(self, labels: Mapping[str, str], *, acts: bool = False) -> None:
        self._labels = {_text(name): _text(label) for name, label in labels.items()}
        self._acts = acts
        self._revision = -1
        self._federation = ""
        self._numbers: dict[str, int] = {}
        self._devices: dict[str, Row] = {}
        self._rounds: dict[int, Row] = {}
        self._cells: dict[int, dict[str, Row]] = {}
        self._cell_count = 0
        self._entries: list[Row] = []
        self._told_entries = 0
        self._head: dict[str, Any] = {}

    @property
    def revision(self) -> int:
        """The view's own, as of the last `update`."""
        return self._revision

    def update(self, view: FederationView, health: Health, rate: float) -> dict[str, Any]:
        """Take over what changed; returns it, and nothing where nothing did.

        `rate` is how many messages come in a second. The view must be held meanwhile.
        """
        changes: dict[str, Any] = {}
        head = _head(view, health, rate)
        if head != self._head:
            self._head = changes["head"] = head
        if view.revision == self._revision:
            return changes
        before, self._revision = self._revision, view.revision
        self._federation = view.topics.federation
        devices = self._fresh_devices(view, before)
        rounds, cells, gone = self._fresh_rounds(view, before)
        entries = [_entry(entry) for entry in view.log.since(self._told_entries)][-MOST_ENTRIES:]
        self._told_entries = view.log.count
        self._entries = (self._entries + entries)[-MOST_ENTRIES:]
        said = {"devices": devices, "rounds": rounds, "cells": cells, "gone": gone, "log": entries}
        changes.update((name, rows) for name, rows in said.items() if rows)
        return changes

    def whole(self) -> dict[str, Any]:
        """Everything, for a page that has just been opened."""
        return {
            "federation": self._federation,
            "acts": self._acts,
            "labels": self._labels,
            "most_cells": MOST_CELLS,
            "most_entries": MOST_ENTRIES,
            "head": self._head,
            "devices": list(self._devices.values()),
            "rounds": list(self._rounds.values()),
            "cells": [row for rows in self._cells.values() for row in rows.values()],
            "log": self._entries,
        }

    def _fresh_devices(self, view: FederationView, before: int) -> list[Row]:
        fresh = []
        for name, device in view.devices.items():
            if device.revision > before or name not in self._devices:
                self._devices[name] = row = _device(self._number(name), name, device)
                fresh.append(row)
        return fresh

    def _fresh_rounds(
        self, view: FederationView, before: int
    ) -> tuple[list[Row], list[Row], list[int]]:
        gone = [number for number in self._rounds if number not in view.rounds]
        for number in gone:
            del self._rounds[number]
            self._cell_count -= len(self._cells.pop(number, {}))
        fresh, cells = [], []
        for number in reversed(view.rounds):
            here = view.rounds[number]
            known = self._rounds.get(number)
            if known is not None and here.revision <= before:
                continue
            row = _round(here)
            if known is not None and known[2:4] != row[2:4] and number in self._cells:
                # Opened again, or another round of that number: its parts begin anew.
                self._cell_count -= len(self._cells.pop(number))
                gone.append(number)
            self._rounds[number] = row
            if row != known:  # else only its cells are news
                fresh.append(row)
            if self._has_room(number, len(here.selected)):
                cells += self._fresh_cells(here)
        if fresh:
            self._rounds = dict(sorted(self._rounds.items()))
        return fresh, cells, gone

    def _has_room(self, number: int, more: int) -> bool:
        """Whether the cells of a round are told, at the cost of those of older rounds."""
        if number in self._cells:
            return True
        if self._cells and number < max(self._cells):
            return self._cell_count + more <= MOST_CELLS
        while self._cells and self._cell_count + more > MOST_CELLS:
            self._cell_count -= len(self._cells.pop(min(self._cells)))
        return True

    def _fresh_cells(self, here: RoundView) -> list[Row]:
        told = self._cells.setdefault(here.number, {})
        fresh = []
        for name in here.selected - here.cells.keys() - told.keys():
            if not self._has_number(name):
                continue
            told[name] = row = [here.number, self._number(name), 0]
            fresh.append(row)
        for name, cell in here.cells.items():
            if not self._has_number(name):
                continue
            row = _cell(here.number, self._number(name), cell)
            if told.get(name) != row:
                told[name] = row
                fresh.append(row)
        # Cells are never taken away from a round, other than with the round.
        self._cell_count = sum(map(len, self._cells.values()))
        return fresh

    def _has_number(self, name: str) -> bool:
        """Whether a device's cells are told: a coordinator could ask ever new names."""
        return name in self._numbers or len(self._numbers) < _MOST_NAMES

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


def _text(text: str) -> str:
    """What a file's name or a run's description has may be no text, which JSON cannot hold."""
    return one_line(text, _LONGEST_TEXT)


def _head(view: FederationView, health: Health, rate: float) -> dict[str, Any]:
    members, status, newest = view.membership, view.coordinator, view.announcement
    return {
        "source": _text(health.source),
        "speed": health.speed,
        "connected": health.connected,
        "fault": health.fault,
        "heard": health.heard,
        "federations": health.federations,
        "rate": round(rate, 1) if rate < 10 else round(rate),
        "messages": health.traffic.received_messages,
        "coordinator": status.presence.value if status else "",
        "desired": view.desired.value if view.desired else "",
        "open": view.open_round.number if view.open_round else 0,
        "newest": newest.round if newest else 0,
        "hopeless": view.is_hopeless,
        "enrolled": members.enrolled if members else None,
        "joining": members.joining if members else False,
        "ignored": {reason.value: count for reason, count in view.ignored.items()},
    }


def _short(value: float | None, digits: int = 5) -> float | None:
    """As few digits as a drawing needs; None for what is not a number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _device(number: int, name: str, device: DeviceView) -> Row:
    latest = device.latest
    counts = device.label_counts[:_MOST_LABELS]
    return [
        number,
        name,
        device.presence.value,
        device.waiting_for,
        device.standing.value,
        device.refusal,
        device.stage.value,
        device.stage_round,
        _short(device.progress, 3),
        device.doing,
        device.runtime,
        device.samples,
        counts,
        _short(latest.received) if latest else None,
        _short(latest.local) if latest else None,
        device.latest_round,
        device.updates_accepted,
        device.updates_rejected,
        device.failures,
        _short(device.train_s),
        device.downloaded_bytes,
        round(device.heard_at, 1),
        int(device.opposes),
    ]


def _round(here: RoundView) -> Row:
    brief, metrics = here.brief, here.metrics
    rejected = metrics.rejected if metrics else {}
    return [
        here.number,
        1 if here.purpose is Purpose.EVALUATE else 0,
        here.epoch,
        here.openings,
        len(here.selected) or (brief.selected if brief else 0),
        _short(here.deadline_s),
        here.opened_at and round(here.opened_at, 2),
        None if brief is None else round(brief.closed_at, 2),
        brief and _short(brief.duration_s),
        brief and brief.accepted,
        brief and brief.rejected,
        brief and brief.missing,
        brief and _short(brief.received_mean),
        brief and _short(brief.local_mean),
        brief and _short(brief.loss_mean),
        brief and brief.uplink_bytes,
        brief and brief.downlink_bytes,
        brief and _short(brief.train_s),
        {reason.value: count for reason, count in rejected.items() if count},
    ]


def _cell(number: int, device: int, cell: Cell) -> Row:
    row: Row = [number, device, _OUTCOMES[cell.outcome]]
    report = cell.report
    rest: Row = [
        _short(report.received, 4) if report else None,
        _short(report.local, 4) if report else None,
        _short(cell.norm, 4),
        _short(cell.cosine, 4),
        _short(report.train_s, 4) if report else None,
        cell.detail or None,
    ]
    while rest and rest[-1] is None:
        rest.pop()
    return row + rest


def _entry(entry: Entry) -> Row:
    return [
        entry.serial,
        round(entry.at, 1),
        entry.kind.value,
        entry.text,
        entry.device,
        entry.round,
    ]


def encode(event: str, revision: int, body: dict[str, Any]) -> bytes:
    """One server-sent event. JSON has no bare line breaks, so that one `data:` line holds it."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (
        event.encode(),
        revision,
        msgspec.json.encode(body),
    )
