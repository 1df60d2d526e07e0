"""rounds.csv and devices.csv: a row per round, and a row per device and round."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .records import Moment, Part, RunRecord
from .spread import Spread, round_spreads

__all__ = [
    "DEVICE_COLUMNS",
    "REFUSAL_COLUMNS",
    "ROUND_COLUMNS",
    "Table",
    "Value",
    "device_rows",
    "encode_devices",
    "encode_rounds",
    "encode_table",
    "refusal_rows",
    "round_rows",
]

ROUND_COLUMNS = (
    "round",
    "started_s",
    "duration_s",
    "participants",
    "accepted",
    "rejected",
    "uplink_bytes",
    "downlink_bytes",
    "train_loss_mean",
    *(f"{moment.value}_{part}" for moment in Moment for part in ("mean", "std", "min", "max")),
    "missing",
    "train_s",
    "evaluate_s",
    "opened_unix_s",
    "closed_unix_s",
)
"""Accuracies are over benign devices; an empty cell says that nothing was measured."""

DEVICE_COLUMNS = (
    "device",
    "attacker",
    "samples",
    "round",
    "received",
    "local",
    "outcome",
    "update_norm",
    "update_cosine",
    "uplink_bytes",
    "downlink_bytes",
    "train_s",
    "evaluate_s",
    "train_loss",
    "stale_rounds",
)
"""`attacker` is empty where nobody knows who attacks."""

REFUSAL_COLUMNS = ("round", "device", "reason", "detail", "payload_bytes", "at_unix_s")

Value = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A tidy table: what a row is about stands in its first columns, units in the names."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Value]]


def round_rows(record: RunRecord) -> Table:
    """A row for each closed round of training."""
    spreads = [round_spreads(record, moment) for moment in Moment]
    rows: list[list[Value]] = [
        [
            row.round,
            row.started_s,
            row.duration_s,
            row.participants,
            row.accepted,
            row.rejected,
            row.uplink_bytes,
            row.downlink_bytes,
            row.train_loss,
            *(part for spread in spreads for part in _parts(spread[position])),
            row.missing,
            row.train_s,
            row.evaluate_s,
            row.opened_at,
            row.closed_at,
        ]
        for position, row in enumerate(record.rounds)
    ]
    return Table("rounds", ROUND_COLUMNS, rows)


def device_rows(record: RunRecord) -> Table:
    """A row for each device in each of those rounds."""
    rows: list[list[Value]] = [
        [
            device.device,
            int(device.attacker) if record.knows_attackers else None,
            device.samples,
            row.round,
            device.received[position],
            device.local[position],
            *_work(device.parts[position] if device.parts else None),
        ]
        for position, row in enumerate(record.rounds)
        for device in record.devices
    ]
    return Table("devices", DEVICE_COLUMNS, rows)


def refusal_rows(record: RunRecord) -> Table:
    """A row for each refused update."""
    rows: list[list[Value]] = [
        [r.round, r.device, r.reason, r.detail, r.uploaded_bytes, r.at] for r in record.refusals
    ]
    return Table("refusals", REFUSAL_COLUMNS, rows)


def encode_rounds(record: RunRecord) -> bytes:
    """rounds.csv."""
    return encode_table(round_rows(record))


def encode_devices(record: RunRecord) -> bytes:
    """devices.csv."""
    return encode_table(device_rows(record))


def _work(part: Part | None) -> tuple[Value, ...]:
    if part is None:
        return (None,) * 9
    return (
        part.outcome,
        part.norm,
        part.cosine,
        part.uploaded_bytes,
        part.downloaded_bytes,
        part.train_s,
        part.evaluate_s,
        part.loss,
        part.stale,
    )


def _parts(spread: Spread | None) -> tuple[float | None, ...]:
    if spread is None:
        return (None,) * 4
    return (spread.mean, spread.std, spread.min, spread.max)


_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a formula of a text in a spreadsheet; with an apostrophe before it it stays text."""


def encode_table(table: Table) -> bytes:
    """The table as CSV in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    unix = [column.endswith("_unix_s") for column in table.columns]
    writer.writerows(
        [_cell(value, exact) for value, exact in zip(row, unix, strict=True)] for row in table.rows
    )
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Value, exact: bool) -> str | int:
    if isinstance(value, float):
        # Six digits are more than was measured, but of a time not even the day.
        shown = f"{value:.3f}" if exact else f"{value:.6g}"
        return shown if math.isfinite(value) else ""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return "" if value is None else value
