"""Closed rounds as rows, the newest first."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import Purpose

from ..readable import duration, share, size
from ..round_view import RoundView
from ..view import FederationView
from .pieces import Line, Tone, meter
from .row_table import Column

__all__ = ["ROUND_COLUMNS", "RoundRow", "draw_round", "round_rows"]

ROUND_COLUMNS = (
    Column("round", "round", 7, rank=0),
    Column("received", "rcvd %", 6, rank=2, right=True),
    Column("local", "local %", 7, rank=1, right=True),
    Column("curve", "means", 12, rank=8, grows=16),
    Column("accepted", "in", 7, rank=3, right=True),
    Column("rejected", "out", 4, rank=4, right=True),
    Column("missing", "none", 4, rank=6, right=True),
    Column("up", "up", 7, rank=5, right=True),
    Column("took", "took", 8, rank=7, right=True),
    Column("down", "down", 7, rank=9, right=True),
)


@dataclass(frozen=True)
class RoundRow:
    """One closed round."""

    number: int
    purpose: Purpose
    selected: int
    accepted: int
    rejected: int
    missing: int
    received: float | None
    local: float | None
    uplink_bytes: int
    downlink_bytes: int
    duration_s: float


def round_rows(view: FederationView) -> list[RoundRow]:
    """The closed rounds, the newest first."""
    return [row for here in reversed(list(view.rounds.values())) if (row := _row(here))]


def _row(here: RoundView) -> RoundRow | None:
    brief = here.brief
    if brief is None:
        return None
    return RoundRow(
        here.number,
        here.purpose,
        brief.selected,
        brief.accepted,
        brief.rejected,
        brief.missing,
        brief.received_mean,
        brief.local_mean,
        brief.uplink_bytes,
        brief.downlink_bytes,
        brief.duration_s,
    )


def draw_round(row: RoundRow, column: str, width: int) -> Line:
    """One cell of the table."""
    match column:
        case "round":
            tests = row.purpose is Purpose.EVALUATE
            mark: Line = [(" eval", Tone.DIM)] if tests else []
            return [(str(row.number), Tone.PLAIN), *mark]
        case "received":
            return [(share(row.received), Tone.RECEIVED)]
        case "local":
            return [(share(row.local), Tone.LOCAL)]
        case "curve":
            return _both(row, width)
        case "accepted":
            if row.purpose is Purpose.EVALUATE:
                return [("-", Tone.DIM)]  # it asks for no update
            return [(f"{row.accepted}/{row.selected}", Tone.PLAIN)]
        case "rejected":
            return [(str(row.rejected), Tone.BAD if row.rejected else Tone.DIM)]
        case "missing":
            return [(str(row.missing), Tone.WARN if row.missing else Tone.DIM)]
        case "up":
            return [(size(row.uplink_bytes), Tone.DIM)]
        case "down":
            return [(size(row.downlink_bytes), Tone.DIM)]
        case _:
            return [(duration(row.duration_s), Tone.DIM)]


def _both(row: RoundRow, width: int) -> Line:
    """A bar up to the better of the two; where the worse one ends, its colour does."""
    received, local = row.received or 0.0, row.local or 0.0
    low, high = min(received, local), max(received, local)
    first = Tone.RECEIVED
    second = Tone.LOCAL if local >= received else Tone.WARN
    return meter([(low, first), (high - low, second)], width)
