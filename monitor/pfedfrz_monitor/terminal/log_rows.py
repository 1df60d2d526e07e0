"""What happened as rows, the newest first."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pfedfrz_protocol import Purpose

from ..log_book import Entry, Kind
from ..readable import percent
from ..view import FederationView
from .pieces import Line, Tone
from .row_table import Column

__all__ = ["LOG_COLUMNS", "LogRow", "draw_log", "log_rows"]

LOG_COLUMNS = (
    Column("at", "time", 8, rank=1),
    Column("text", "what happened", 12, rank=0, grows=400),
)
_TONES = {
    Kind.ROUND: Tone.PLAIN,
    Kind.DEVICE: Tone.DIM,
    Kind.REJECTED: Tone.BAD,
    Kind.FAILED: Tone.BAD,
    Kind.OPPOSES: Tone.WARN,
    Kind.KEPT_OUT: Tone.WARN,
    Kind.CONTROL: Tone.WORK,
}


@dataclass(frozen=True)
class LogRow:
    """One line."""

    serial: int
    at: float
    kind: Kind
    device: str
    text: str


def log_rows(view: FederationView, most: int) -> list[LogRow]:
    """The newest entries, the newest first."""
    entries = view.log.since(view.log.count - most)
    return [
        LogRow(e.serial, e.at, e.kind, e.device, _text(view, e))
        for e in reversed(entries)
        if not _is_superseded(view, e)
    ]


def _is_superseded(view: FederationView, entry: Entry) -> bool:
    """An opening is no news once the round has closed, unless it was opened again."""
    here = view.rounds.get(entry.round)
    is_opening = entry.kind is Kind.ROUND and not entry.text.endswith("closed")
    return is_opening and here is not None and here.is_closed and here.openings == 1


def _text(view: FederationView, entry: Entry) -> str:
    here = view.rounds.get(entry.round)
    if entry.kind is Kind.ROUND and entry.text.endswith("closed") and here and here.brief:
        brief = here.brief
        if brief.purpose is Purpose.EVALUATE:
            return f"round {brief.round} measured the model: {percent(brief.received_mean)}"
        means = f"{percent(brief.received_mean)}, then {percent(brief.local_mean)}"
        return f"{entry.text}: {brief.accepted}/{brief.selected} in, {means}"
    if entry.kind is Kind.REJECTED:
        return f"rejected in round {entry.round}: {entry.text}"
    if entry.kind is Kind.FAILED:
        return f"failed in round {entry.round}: {entry.text}"
    return entry.text


def draw_log(row: LogRow, column: str, width: int) -> Line:
    """One cell of the table."""
    if column == "at":
        return [(time.strftime("%H:%M:%S", time.localtime(row.at)), Tone.DIM)]
    name: Line = [(f"{row.device} ", Tone.STRONG)] if row.device else []
    return [*name, (row.text, _TONES[row.kind])]
