"""What an attack costs each variant: its accuracy without attackers minus that with the most."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_monitor.report.records import Moment

from .measured import MeasuredCell, StudyResults
from .statistics import Interval, Verdict, interval_of, judge

__all__ = ["AttackCost", "attack_costs"]


@dataclass(frozen=True)
class AttackCost:
    """One variant, read after as many rounds as pFedFrz has; all paired over seeds."""

    label: str
    moment: Moment
    before: Interval
    after: Interval
    loss: Interval
    spared: Interval | None
    """How much more it loses than pFedFrz; None for pFedFrz itself and where there is none."""

    @property
    def verdict(self) -> Verdict | None:
        """Whether pFedFrz loses less."""
        return None if self.spared is None else judge(self.spared)


def attack_costs(results: StudyResults, panel: str, partition: str) -> tuple[AttackCost, ...]:
    """Every variant of a panel, pFedFrz first; nothing where the attackers are not varied.

    Of the methods with a partition only those with this one.
    """
    levels = results.levels(panel)
    if len(levels) < 2 or levels[0] != 0:
        return ()
    subject = results.subject_for(panel, partition)
    labels = [
        label
        for label in results.study.variants
        if any(c.partition in ("", partition) for c in results.select(panel, label=label))
    ]
    if subject is not None:
        labels.sort(key=lambda label: label != subject.label)
    found = []
    for moment in Moment:
        reference: dict[int, float] = {}
        for label in labels:
            pairs = _pairs(results, panel, label, levels)
            if not pairs:
                continue
            # Each cell after as many rounds as pFedFrz runs, or at its own end.
            values = {}
            for seed, (calm, attacked) in pairs.items():
                end = float(subject.rounds[-1]) if subject else float(calm.rounds[-1])
                values[seed] = calm.at_round(moment, end), attacked.at_round(moment, end)
            losses = {seed: before - after for seed, (before, after) in values.items()}
            if subject is not None and label == subject.label:
                reference = losses
            before = interval_of(value for value, _ in values.values())
            after = interval_of(value for _, value in values.values())
            loss = interval_of(losses.values())
            if before is None or after is None or loss is None:
                continue
            spared = None
            if reference and (subject is None or label != subject.label):
                spared = interval_of(
                    losses[seed] - reference[seed] for seed in losses if seed in reference
                )
            found.append(AttackCost(label, moment, before, after, loss, spared))
    return tuple(found)


def _pairs(
    results: StudyResults, panel: str, label: str, levels: tuple[int, ...]
) -> dict[int, tuple[MeasuredCell, MeasuredCell]]:
    calm = {cell.seed: cell for cell in results.select(panel, levels[0], label)}
    attacked = {cell.seed: cell for cell in results.select(panel, levels[-1], label)}
    return {seed: (calm[seed], attacked[seed]) for seed in calm if seed in attacked}
