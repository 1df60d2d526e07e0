"""The table of rounds."""

from __future__ import annotations

from .markup import Element, element
from .quantities import MISSING, bytes_text, duration_text, loss_text, percent_text
from .records import Moment, RoundRecord, RunRecord
from .spread import Spread, round_spreads

__all__ = ["round_table"]

_HEADINGS = (
    "round",
    "received",
    "local",
    "loss",
    "took part",
    "accepted",
    "rejected",
    "up",
    "down",
    "training",
    "time",
)


def round_table(record: RunRecord) -> Element:
    """A row per round: accuracy, loss, participation, traffic, time."""
    spreads = [round_spreads(record, moment) for moment in Moment]
    rows = [
        _row(row, (spreads[0][position], spreads[1][position]))
        for position, row in enumerate(record.rounds)
    ]
    headings = [
        element("th", {"scope": "col", "class": "number"}, heading) for heading in _HEADINGS
    ]
    head = element("thead", {}, element("tr", {}, *headings))
    return element("table", {"class": "rounds"}, head, element("tbody", {}, *rows))


def _row(row: RoundRecord, spreads: tuple[Spread | None, Spread | None]) -> Element:
    texts = (
        *(_spread(spread) for spread in spreads),
        loss_text(row.train_loss),
        str(row.participants),
        str(row.accepted),
        str(row.rejected),
        bytes_text(row.uplink_bytes),
        bytes_text(row.downlink_bytes),
        duration_text(row.train_s) if row.train_s else MISSING,
        duration_text(row.duration_s),
    )
    number = element("th", {"scope": "row", "class": "number"}, str(row.round))
    return element("tr", {}, number, *(element("td", {"class": "number"}, text) for text in texts))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return MISSING
    if spread.devices == 1:
        return percent_text(spread.mean)
    return f"{100 * spread.mean:.1f} \N{PLUS-MINUS SIGN} {percent_text(spread.std)}"
