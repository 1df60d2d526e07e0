"""Putting a run's report on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import OperationError
from pfedfrz_storage import write_atomically

from .page import encode_page
from .records import RunRecord
from .summary import encode_summary
from .tables import encode_devices, encode_rounds

__all__ = ["ReportFiles", "write_report"]


@dataclass(frozen=True)
class ReportFiles:
    """Where the parts of a report lie."""

    summary: Path
    rounds: Path
    devices: Path
    page: Path
    plots: tuple[Path, ...]


def write_report(record: RunRecord, directory: Path, *, with_plots: bool = True) -> ReportFiles:
    """Write the whole report into `directory`, which is made; files that are there are replaced.

    The plots need matplotlib, and nothing else does. Each file appears whole or not at all, and
    summary.json last: where it is, the rest is too.
    Raises OperationError when the disk refuses.
    """
    plots = _plots(record) if with_plots else {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"cannot make {directory}: {error.strerror or error}") from error
    files = ReportFiles(
        summary=directory / "summary.json",
        rounds=directory / "rounds.csv",
        devices=directory / "devices.csv",
        page=directory / "report.html",
        plots=tuple(directory / name for name in plots),
    )
    contents = (
        (files.rounds, encode_rounds(record)),
        (files.devices, encode_devices(record)),
        *((directory / name, content) for name, content in plots.items()),
        (files.page, encode_page(record)),
        (files.summary, encode_summary(record)),
    )
    for path, content in contents:
        write_atomically(path, content)
    return files


def _plots(record: RunRecord) -> dict[str, bytes]:
    # Imported here: matplotlib takes half a second to load, and a run starts without it.
    from .plots import accuracy_plot, label_mix_plot

    plots = {"accuracy.png": accuracy_plot(record)}
    if record.classes:
        plots["label_mix.png"] = label_mix_plot(record)
    return plots
