"""A run for other programs: CSV, Parquet, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pfedfrz_protocol import ConfigurationError
from pfedfrz_storage import make_directory

from ..report.records import RunRecord
from .csv_tables import export_csv
from .parquet_tables import export_parquet
from .tensorboard_events import export_tensorboard

__all__ = ["EXPORTS", "export_csv", "export_parquet", "export_run", "export_tensorboard"]

EXPORTS: dict[str, Callable[[RunRecord, Path], tuple[Path, ...]]] = {
    "csv": export_csv,
    "parquet": export_parquet,
    "tensorboard": export_tensorboard,
}


def export_run(record: RunRecord, kind: str, directory: Path) -> tuple[Path, ...]:
    """Write the run into `directory`, made if need be, in one of `EXPORTS`; the written files.

    ConfigurationError for another kind and for a package that is not installed, OperationError
    when the disk refuses.
    """
    if kind not in EXPORTS:
        raise ConfigurationError(f"no export {kind!r}; there are: {', '.join(EXPORTS)}")
    make_directory(directory)
    return EXPORTS[kind](record, directory)
