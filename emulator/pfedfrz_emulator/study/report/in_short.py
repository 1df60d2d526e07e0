"""The report in one table, made of the verdicts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pfedfrz_monitor.report.records import Moment

from .comparisons import Comparison
from .measured import StudyResults
from .outline import Cell, Table, accuracy_cell
from .statistics import Verdict, interval_of
from .tables import level_name, partition_name

__all__ = ["in_short"]

_NOBODY = "\N{EN DASH}"


def in_short(results: StudyResults, comparisons: Sequence[Comparison]) -> Table:
    """A row for each panel with the fewest and the most attackers; the first partition alone."""
    partition = comparisons[0].partition
    columns = (
        *("setting", "moment", f"pFedFrz, {partition_name(partition)}: %"),
        *("better on every basis than", "on some than", "not shown to be better than"),
    )
    return Table(columns, tuple(_rows(results, comparisons, partition)))


def _rows(
    results: StudyResults, comparisons: Sequence[Comparison], partition: str
) -> Iterator[tuple[Cell, ...]]:
    for panel in results.panels:
        levels = results.levels(panel)
        for attackers in dict.fromkeys((levels[0], levels[-1])):
            for moment in Moment:
                key = (panel, attackers, partition, moment)
                own = [
                    c for c in comparisons if (c.panel, c.attackers, c.partition, c.moment) == key
                ]
                if own:
                    yield _row(results, own)


def _row(results: StudyResults, own: Sequence[Comparison]) -> tuple[Cell, ...]:
    first = own[0]
    cells = results.select(first.panel, first.attackers, first.subject)
    accuracy = interval_of(cell.at_round(first.moment, cell.rounds[-1]) for cell in cells)
    level = level_name(results, first.panel, first.attackers)
    return (
        Cell(", ".join(filter(None, (first.panel, level)))),
        Cell(first.moment.value),
        accuracy_cell(accuracy) if accuracy else Cell(_NOBODY),
        *(Cell(", ".join(names) or _NOBODY) for names in _sorted_baselines(own)),
    )


def _sorted_baselines(own: Sequence[Comparison]) -> tuple[list[str], list[str], list[str]]:
    """Baselines by how far pFedFrz is shown to be better than they are."""
    always, sometimes, never = list[str](), list[str](), list[str]()
    for baseline in dict.fromkeys(c.baseline for c in own):
        mine = [c for c in own if c.baseline == baseline]
        held = [c for c in mine if c.verdict is Verdict.HOLDS]
        worse = any(c.verdict is Verdict.FAILS for c in mine)
        if len(held) == len(mine):
            always.append(baseline)
        elif held:
            bases = ", ".join(c.basis.value for c in held)
            sometimes.append(f"{baseline} ({bases}{'; worse on another' if worse else ''})")
        else:
            never.append(f"{baseline}{' (worse on some basis)' if worse else ''}")
    return always, sometimes, never
