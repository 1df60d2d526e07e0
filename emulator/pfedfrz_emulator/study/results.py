"""What came of every cell, one line of JSON each, written as soon as the cell is finished.

A study that was killed goes on behind the last whole line.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from pfedfrz_protocol import ConfigurationError, decode_json

from ..experiment import Experiment
from .backdoor_success import backdoor_success
from .cell import Cell
from .forms import Form
from .rounds import CellOutcome
from .specification import CellRequest

__all__ = ["CellRecord", "MeasuredRound", "Results", "make_record"]


class MeasuredRound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accuracies over the benign devices, after a round; see rounds.RoundMeasurement."""

    round: int
    received: float | None
    """Mean over devices; None where nobody was measured."""
    local: float | None
    received_worst: float | None
    """The least of any device."""
    local_worst: float | None
    update_bytes: int
    """What one device's update takes as it goes over the wire."""


class CellRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finished cell."""

    digest: str
    variant: str
    group: str
    experiment: Experiment
    form: Form
    rounds: tuple[MeasuredRound, ...]
    """The measured ones, the last round among them."""
    devices_received: tuple[float | None, ...]
    """After the last round, of every device; None for attackers."""
    devices_local: tuple[float | None, ...]
    rejected: int
    samples: int
    """Training samples of a device, on average."""
    wall_s: float
    backdoor_success: float | None = None
    """See backdoor_success; None where the attack is another one."""

    @property
    def last(self) -> MeasuredRound:
        """After the last round."""
        return self.rounds[-1]


def make_record(
    request: CellRequest, cell: Cell, outcome: CellOutcome, form: Form, wall_s: float
) -> CellRecord:
    """The record of a finished cell."""
    rounds = tuple(
        MeasuredRound(
            row.round,
            _mean(row.received),
            _mean(row.local),
            _least(row.received),
            _least(row.local),
            row.update_bytes,
        )
        for row in outcome.measurements
    )
    last = outcome.measurements[-1]
    success = backdoor_success(cell, outcome)
    return CellRecord(
        request.digest,
        request.variant,
        request.group,
        request.experiment,
        form,
        rounds,
        _numbers(last.received),
        _numbers(last.local),
        outcome.rejected,
        round(sum(map(len, cell.rows)) / len(cell.rows)),
        round(wall_s, 3),
        None if success is None else round(success, 6),
    )


class Results:
    """The file of finished cells; only one process writes it."""

    def __init__(self, path: Path) -> None:
        """Read what is there; ConfigurationError for a file that holds something else."""
        self._path = path
        self._records: dict[str, CellRecord] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = decode_json(line, CellRecord)
            except (msgspec.DecodeError, ConfigurationError) as error:
                raise ConfigurationError(
                    f"{path}, line {number}: not a finished cell: {error}; "
                    "move the file away or give another --out"
                ) from error
            self._records[record.digest] = record
        if len(whole) < len(content):
            # The line at which an earlier run was killed.
            with path.open("r+b") as file:
                file.truncate(len(whole))

    def __contains__(self, digest: str) -> bool:
        return digest in self._records

    @property
    def records(self) -> tuple[CellRecord, ...]:
        """Every finished cell, in the order in which they were finished."""
        return tuple(self._records.values())

    def add(self, record: CellRecord) -> None:
        """Append a cell; on the disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._records[record.digest] = record


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 6) if len(known) else None


def _least(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.min()), 6) if len(known) else None


def _numbers(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else round(float(value), 6) for value in values)
