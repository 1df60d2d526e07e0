"""pFedFrz against every baseline, on three bases, paired over seeds.

pFedFrz goes over a device's data twice in a round. So a baseline is read three times: with the same
epochs per phase after the same round; with as many passes per round, after the same round; and with
the same epochs per phase when its devices have done the same measured work, which takes the cheaper
methods more rounds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from pfedfrz_monitor.report.records import Moment
from pfedfrz_protocol import METHODS, find_method

from .measured import MeasuredCell, StudyResults
from .statistics import Interval, Verdict, interval_of, judge

__all__ = ["Basis", "Comparison", "compare_all"]

_SLACK = 0.98
"""A baseline that has done this share of the work counts as having done it."""

_METHOD_ORDER = ("local", "fedavg", "fedsim", "fedalt", *METHODS)
"""Baselines as the poster's readers look for them."""


class Basis(str, enum.Enum):
    """What is the same for both."""

    EPOCHS = "same epochs per phase"
    PASSES = "same passes"
    WORK = "same device work"


@dataclass(frozen=True, eq=False)
class Comparison:
    """One claim: in this setting the subject is better than the baseline."""

    panel: str
    attackers: int
    partition: str
    subject: str
    baseline: str
    """The family's name; `read` is the variant that was read."""
    read: str
    basis: Basis
    moment: Moment
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """Subject minus baseline, by seed."""
    work_share: float
    """How much of the subject's work the baseline had done where it was read."""

    @cached_property
    def interval(self) -> Interval:
        """Of the mean difference."""
        found = interval_of(self.differences)
        assert found is not None  # made only where there is a seed
        return found

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        return judge(self.interval)

    @property
    def falls_short(self) -> bool:
        """Whether the baseline's curve ends before the subject's work is reached."""
        return self.basis is Basis.WORK and self.work_share < _SLACK


def compare_all(results: StudyResults) -> tuple[Comparison, ...]:
    """Every comparison that the cells allow, in the study's order."""
    found: list[Comparison] = []
    for panel in results.panels:
        for attackers in results.levels(panel):
            cells = results.select(panel, attackers)
            for subject in results.subjects:
                own = [cell for cell in cells if cell.label == subject]
                if own:
                    found.extend(_against_all(own, cells, results.study.variants))
    return tuple(found)


def _against_all(
    own: Sequence[MeasuredCell], cells: Sequence[MeasuredCell], order: Sequence[str]
) -> Iterator[Comparison]:
    families: dict[tuple[str, str], list[MeasuredCell]] = {}
    for cell in cells:
        if _is_baseline(cell, own[0]):
            key = (cell.record.experiment.method, cell.partition)
            families.setdefault(key, []).append(cell)
    for _, family in sorted(families.items(), key=lambda item: _METHOD_ORDER.index(item[0][0])):
        epochs = own[0].record.experiment.training.epochs
        family.sort(key=lambda cell: order.index(cell.label))
        plain = [cell for cell in family if cell.record.experiment.training.epochs == epochs]
        name = (plain or family)[0].label
        for basis in Basis:
            pairs = [(cell, other) for cell in own if (other := _counterpart(cell, family, basis))]
            for moment in Moment if pairs else ():
                made = _comparison(pairs, name, basis, moment)
                if made.differences:
                    yield made


def _comparison(
    pairs: Sequence[tuple[MeasuredCell, MeasuredCell]], name: str, basis: Basis, moment: Moment
) -> Comparison:
    subject, other = pairs[0]
    differences: dict[int, float] = {}
    for cell, baseline in pairs:
        end = cell.rounds[-1]
        against = (
            baseline.at_work(moment, cell.work[-1])
            if basis is Basis.WORK
            else baseline.at_round(moment, end)
        )
        difference = cell.at_round(moment, end) - against
        if math.isfinite(difference):
            differences[cell.seed] = difference
    return Comparison(
        subject.panel,
        subject.attackers,
        subject.partition,
        subject.label,
        name,
        other.label,
        basis,
        moment,
        tuple(differences),
        tuple(differences.values()),
        min(1.0, other.work[-1] / subject.work[-1]),
    )


def _counterpart(
    cell: MeasuredCell, family: Sequence[MeasuredCell], basis: Basis
) -> MeasuredCell | None:
    """The family's cell of the same seed that is read on this basis."""
    same_seed = [other for other in family if other.seed == cell.seed]
    epochs = cell.record.experiment.training.epochs
    plain = [o for o in same_seed if o.record.experiment.training.epochs == epochs]
    if basis is Basis.WORK:
        return max(plain, key=lambda other: float(other.work[-1]), default=None)
    chosen = [o for o in same_seed if o.passes == cell.passes] if basis is Basis.PASSES else plain
    return next((o for o in chosen if o.rounds[-1] >= cell.rounds[-1]), None)


def _is_baseline(cell: MeasuredCell, subject: MeasuredCell) -> bool:
    """Another method, everything that is not the method's own the same."""
    if cell.record.experiment.method == subject.record.experiment.method:
        return False
    method = find_method(cell.record.experiment.method)
    # LG-FedAvg and FedBABU are what they are by a partition of their own.
    own_partition = method.uniform is not None or method.personal_default != ("front",)
    return (own_partition or cell.partition == subject.partition) and _others(cell) == _others(
        subject
    )


def _others(cell: MeasuredCell) -> tuple[Any, ...]:
    experiment = cell.record.experiment
    return tuple(
        msgspec.structs.replace(value, epochs=1, proximal=0.0) if name == "training" else value
        for name in experiment.__struct_fields__
        if name not in ("method", "personal", "rounds", "seed")
        for value in (getattr(experiment, name),)
    )
