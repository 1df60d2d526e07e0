"""Finished cells as curves: accuracy over rounds, over device work and over bytes sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pfedfrz_monitor.report.records import Moment
from pfedfrz_protocol import find_method

from ..device_work import DeviceWork, passes_per_round
from ..results import CellRecord
from ..specification import Study, shown

__all__ = ["MeasuredCell", "StudyResults", "collect"]

_VARIED_WITHIN = "attackers"
"""The setting that a panel runs over: everything else that a study varies makes a panel."""

_SPEAKS_FOR_ITSELF = ("dataset", "model", "attack", "aggregation", "split")


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """A finished cell and what its rounds cost."""

    record: CellRecord
    panel: str
    """The combination without the number of attackers: `mnist, alpha = 0.1`."""
    work_per_round: float
    """See DeviceWork."""

    @property
    def label(self) -> str:
        """The variant."""
        return self.record.variant

    @property
    def attackers(self) -> int:
        """How many devices attack."""
        return self.record.experiment.attackers

    @property
    def seed(self) -> int:
        """The seed."""
        return self.record.experiment.seed

    @property
    def partition(self) -> str:
        """The personal group as a person names it; empty where the method fixes it."""
        method = find_method(self.record.experiment.method)
        if method.uniform is not None:
            return ""
        return " ".join(self.record.experiment.personal or method.personal_default)

    @property
    def passes(self) -> int:
        """Passes over the device's data in a round."""
        return passes_per_round(self.record.experiment)

    @cached_property
    def rounds(self) -> NDArray[np.float64]:
        """The measured rounds, `(measured,)`."""
        return np.array([row.round for row in self.record.rounds], np.float64)

    @cached_property
    def work(self) -> NDArray[np.float64]:
        """Work of a device up to each measured round, `(measured,)`."""
        return self.rounds * self.work_per_round

    @cached_property
    def sent_bytes(self) -> NDArray[np.float64]:
        """What a device has uploaded up to each measured round, `(measured,)`."""
        sizes = np.array([row.update_bytes for row in self.record.rounds], np.float64)
        return np.cumsum(sizes * np.diff(self.rounds, prepend=0.0))

    def accuracy(self, moment: Moment) -> NDArray[np.float64]:
        """At the measured rounds, `(measured,)`; NaN where nobody was measured."""
        values = [getattr(row, moment.value) for row in self.record.rounds]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def at_round(self, moment: Moment, number: float) -> float:
        """After round `number`, between measured rounds on the line that joins them."""
        return float(np.interp(number, self.rounds, self.accuracy(moment)))

    def at_work(self, moment: Moment, work: float) -> float:
        """When a device had done that work, or at the end where it never did."""
        return float(np.interp(work, self.work, self.accuracy(moment)))


@dataclass(frozen=True, eq=False)
class StudyResults:
    """A study and what there is of its results."""

    study: Study
    cells: tuple[MeasuredCell, ...]
    work: DeviceWork
    command: str

    @property
    def panels(self) -> tuple[str, ...]:
        """In the order of the study's combinations."""
        return tuple(dict.fromkeys(cell.panel for cell in self.cells))

    @property
    def missing(self) -> int:
        """Cells that are not finished."""
        return len(self.study.cells) - len(self.cells)

    def levels(self, panel: str) -> tuple[int, ...]:
        """The numbers of attackers, ascending."""
        return tuple(sorted({cell.attackers for cell in self.cells if cell.panel == panel}))

    def select(
        self, panel: str, attackers: int | None = None, label: str | None = None
    ) -> tuple[MeasuredCell, ...]:
        """The cells of a panel, with so many attackers, of that variant."""
        return tuple(
            cell
            for cell in self.cells
            if cell.panel == panel
            and attackers in (None, cell.attackers)
            and label in (None, cell.label)
        )

    @property
    def subjects(self) -> tuple[str, ...]:
        """The variants whose claims are examined: those of pFedFrz."""
        found = [cell.label for cell in self.cells if cell.record.experiment.method == "pfedfrz"]
        return tuple(label for label in self.study.variants if label in found)

    def subject_for(self, panel: str, partition: str) -> MeasuredCell | None:
        """A cell of pFedFrz with that partition, any seed."""
        for cell in self.select(panel):
            if cell.label in self.subjects and partition in ("", cell.partition):
                return cell
        return None

    def partitions(self, panel: str) -> tuple[str, ...]:
        """The partitions that occur in a panel; one empty name where no method has any."""
        found = dict.fromkeys(cell.partition for cell in self.select(panel) if cell.partition)
        return tuple(found) or ("",)


def collect(
    study: Study, records: Sequence[CellRecord], work: DeviceWork, command: str
) -> StudyResults:
    """The records that belong to the study, in the study's order."""
    by_digest = {record.digest: record for record in records}
    cells = []
    for request in study.cells:
        record = by_digest.get(request.digest)
        if record is not None:
            cells.append(
                MeasuredCell(record, _panel(study, record), work.per_round(record.experiment))
            )
    return StudyResults(study, tuple(cells), work, command)


def _panel(study: Study, record: CellRecord) -> str:
    parts = []
    for name in study.grid:
        if name != _VARIED_WITHIN:
            experiment = record.experiment
            owner = experiment if hasattr(experiment, name) else experiment.training
            value = shown(getattr(owner, name))
            parts.append(value if name in _SPEAKS_FOR_ITSELF else f"{name} = {value}")
    return ", ".join(parts)
