"""cells.csv, curves.csv and claims.csv: everything that the report says, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from pfedfrz_monitor.report.records import Moment

from .comparisons import Comparison
from .measured import MeasuredCell, StudyResults

__all__ = ["encode_cells", "encode_claims", "encode_curves"]

_CELL = (
    *("dataset", "alpha", "iid", "model", "devices", "attackers", "attack", "aggregation"),
    *("method", "rounds"),
)


def encode_cells(results: StudyResults) -> bytes:
    """A row for each finished cell, with what it ended with."""
    columns = (
        *("variant", "group", "seed", *_CELL, "partition", "epochs", "passes", "work_per_round"),
        *("received", "local", "received_worst", "local_worst", "uploaded_bytes", "rejected"),
        "backdoor_success",
    )
    return _encode(columns, map(_cell_row, results.cells))


def encode_curves(results: StudyResults) -> bytes:
    """A row for each measured round of each cell."""
    columns = (
        *("variant", "group", "seed", "round", "device_work", "uploaded_bytes"),
        *("received", "local", "received_worst", "local_worst"),
    )
    return _encode(columns, (row for cell in results.cells for row in _curve_rows(cell)))


def encode_claims(comparisons: Sequence[Comparison]) -> bytes:
    """A row for each comparison; differences in shares, not in points."""
    columns = (
        *("panel", "attackers", "partition", "subject", "baseline", "read", "basis", "moment"),
        *("seeds", "difference", "low", "high", "verdict", "work_share"),
    )
    rows = (
        (
            *(c.panel, c.attackers, c.partition, c.subject, c.baseline, c.read),
            *(c.basis.value, c.moment.value, len(c.seeds), c.interval.mean),
            *(c.interval.low, c.interval.high, c.verdict.value, c.work_share),
        )
        for c in comparisons
    )
    return _encode(columns, rows)


def _cell_row(cell: MeasuredCell) -> Sequence[object]:
    record, experiment = cell.record, cell.record.experiment
    last = record.last
    return (
        *(cell.label, record.group, cell.seed, *(getattr(experiment, name) for name in _CELL)),
        *(cell.partition, experiment.training.epochs, cell.passes, cell.work_per_round),
        *(last.received, last.local, last.received_worst, last.local_worst),
        *(cell.sent_bytes[-1], record.rejected),
        record.backdoor_success,
    )


def _curve_rows(cell: MeasuredCell) -> Iterable[Sequence[object]]:
    curves = [cell.accuracy(moment) for moment in Moment]
    for place, row in enumerate(cell.record.rounds):
        yield (
            *(cell.label, cell.record.group, cell.seed, row.round),
            *(cell.work[place], cell.sent_bytes[place]),
            *(curve[place] for curve in curves),
            *(row.received_worst, row.local_worst),
        )


def _encode(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_shown(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _shown(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.8g}" if np.isfinite(value) else ""
    if isinstance(value, bool):
        return int(value)
    return "" if value is None else value
