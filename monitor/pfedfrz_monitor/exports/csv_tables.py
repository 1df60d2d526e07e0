"""A run as CSV: rounds.csv, devices.csv, refusals.csv."""

from __future__ import annotations

from pathlib import Path

from pfedfrz_storage import write_atomically

from ..report.records import RunRecord
from ..report.tables import Table, device_rows, encode_table, refusal_rows, round_rows

__all__ = ["export_csv", "run_tables"]


def run_tables(record: RunRecord) -> tuple[Table, ...]:
    """The tidy tables of a run: rounds, devices by rounds, refusals."""
    return round_rows(record), device_rows(record), refusal_rows(record)


def export_csv(record: RunRecord, directory: Path) -> tuple[Path, ...]:
    """Write a file for each table; their paths."""
    files = []
    for table in run_tables(record):
        files.append(directory / f"{table.name}.csv")
        write_atomically(files[-1], encode_table(table))
    return tuple(files)
