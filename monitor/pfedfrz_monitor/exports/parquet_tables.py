"""A run as Parquet files, with the types of the columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from pfedfrz_protocol import ConfigurationError
from pfedfrz_storage import write_atomically

from ..report.records import RunRecord
from ..report.summary import summarize
from ..report.tables import Table, Value
from .csv_tables import run_tables

__all__ = ["export_parquet"]

_TEXT = ("device", "outcome", "reason", "detail")
_WHOLE = ("round", "participants", "accepted", "rejected", "missing", "samples", "stale_rounds")


def export_parquet(record: RunRecord, directory: Path) -> tuple[Path, ...]:
    """Write a file for each table, summary.json in their metadata; their paths.

    ConfigurationError without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs the package pyarrow, which is not installed; "
            "pip install 'pfedfrz[parquet]'"
        ) from error
    files = []
    summary = {"pfedfrz.summary": json.dumps(summarize(record))}
    for table in run_tables(record):
        schema = pyarrow.schema(
            [(column, _kind(pyarrow, column)) for column in table.columns], metadata=summary
        )
        content = io.BytesIO()
        parquet.write_table(pyarrow.table(_columns(table), schema=schema), content)
        files.append(directory / f"{table.name}.parquet")
        write_atomically(files[-1], content.getvalue())
    return tuple(files)


def _columns(table: Table) -> list[list[Any]]:
    return [
        [_value(column, row[place]) for row in table.rows]
        for place, column in enumerate(table.columns)
    ]


def _value(column: str, value: Value) -> object:
    if isinstance(value, str):
        # A path's bytes, which are no text, may be in a name; Parquet's strings are UTF-8.
        return value.encode("utf-8", "backslashreplace").decode()
    return bool(value) if column == "attacker" and value is not None else value


def _kind(pyarrow: Any, column: str) -> Any:
    if column == "attacker":
        return pyarrow.bool_()
    if column in _TEXT:
        return pyarrow.string()
    if column in _WHOLE or column.endswith("_bytes"):
        return pyarrow.int64()
    return pyarrow.float64()
