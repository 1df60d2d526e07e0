"""rounds.csv and devices.csv: a row per round, and a row per device and round."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from .records import Moment, RunRecord
from .spread import Spread, round_spreads

__all__ = ["DEVICE_COLUMNS", "ROUND_COLUMNS", "encode_devices", "encode_rounds"]

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
)
"""Accuracies are over benign devices; an empty cell says that nothing was measured."""

DEVICE_COLUMNS = ("device", "attacker", "samples", "round", "received", "local")

_Cell = str | int | float | None


def encode_rounds(record: RunRecord) -> bytes:
    """rounds.csv."""
    spreads = [round_spreads(record, moment) for moment in Moment]
    rows = (
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
        ]
        for position, row in enumerate(record.rounds)
    )
    return _encode(ROUND_COLUMNS, rows)


def encode_devices(record: RunRecord) -> bytes:
    """devices.csv."""
    rows = (
        [
            device.device,
            int(device.attacker),
            device.samples,
            row.round,
            device.received[position],
            device.local[position],
        ]
        for position, row in enumerate(record.rounds)
        for device in record.devices
    )
    return _encode(DEVICE_COLUMNS, rows)


def _parts(spread: Spread | None) -> tuple[float | None, ...]:
    if spread is None:
        return (None,) * 4
    return (spread.mean, spread.std, spread.min, spread.max)


def _encode(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: _Cell) -> str | int:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value
