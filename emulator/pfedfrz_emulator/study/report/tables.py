"""The tables of a study's report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pfedfrz_monitor.report.records import Moment

from .attack_costs import attack_costs
from .comparisons import Basis, Comparison
from .measured import MeasuredCell, StudyResults
from .outline import Cell, Table, accuracy_cell, difference_cell, signed_points
from .statistics import Verdict, interval_of

__all__ = [
    "accuracy_table",
    "backdoor_table",
    "claim_table",
    "cost_table",
    "level_name",
    "not_won_table",
    "partition_name",
    "tally_table",
    "work_table",
]

_SHORTFALL = "*"


def level_name(results: StudyResults, panel: str, attackers: int) -> str:
    """A number of attackers as a share."""
    devices = results.select(panel)[0].record.experiment.devices
    return f"{100 * attackers / devices:g} % attackers"


def partition_name(partition: str) -> str:
    """A partition in a heading."""
    return f"personal: {partition}" if partition else "no partition"


def claim_table(title: str, comparisons: Sequence[Comparison]) -> Table:
    """One panel, partition and number of attackers: a row per baseline, both moments, all bases."""
    pairs = [(moment, basis) for moment in Moment for basis in Basis]
    rows = []
    for baseline in dict.fromkeys(c.baseline for c in comparisons):
        row = [Cell(f"against {baseline}")]
        for moment, basis in pairs:
            row.append(
                next(
                    (
                        difference_cell(c.interval, c.verdict, _SHORTFALL if c.falls_short else "")
                        for c in comparisons
                        if (c.baseline, c.moment, c.basis) == (baseline, moment, basis)
                    ),
                    Cell("\N{EN DASH}"),
                )
            )
        rows.append(tuple(row))
    columns = tuple(f"{moment.value}, {basis.value}" for moment, basis in pairs)
    return Table(("", *columns), tuple(rows), title)


def tally_table(results: StudyResults, comparisons: Sequence[Comparison]) -> Table:
    """How many comparisons hold, by setting."""
    rows = []
    keys = dict.fromkeys((c.panel, c.partition, c.attackers) for c in comparisons)
    for panel, partition, attackers in keys:
        own = [
            c
            for c in comparisons
            if (c.panel, c.partition, c.attackers) == (panel, partition, attackers)
        ]
        row = [
            Cell(", ".join(filter(None, (panel, partition_name(partition))))),
            Cell(level_name(results, panel, attackers)),
        ]
        for moment in Moment:
            verdicts = [c.verdict for c in own if c.moment is moment]
            row += [Cell(str(verdicts.count(verdict))) for verdict in Verdict]
        rows.append(tuple(row))
    columns = tuple(f"{moment.value}: {verdict.value}" for moment in Moment for verdict in Verdict)
    return Table(("setting", "attackers", *columns), tuple(rows))


def not_won_table(results: StudyResults, comparisons: Sequence[Comparison]) -> Table:
    """Every comparison in which pFedFrz is not shown to be better."""
    rows = []
    lost = [c for c in comparisons if c.verdict is not Verdict.HOLDS]
    for key in dict.fromkeys((c.panel, c.partition, c.baseline, c.basis) for c in lost):
        own = [c for c in lost if (c.panel, c.partition, c.baseline, c.basis) == key]
        panel, partition, baseline, basis = key
        cells = []
        for moment in Moment:
            parts = [
                f"{level_name(results, panel, c.attackers)}: {signed_points(c.interval)} "
                f"{c.verdict.value}"
                for c in own
                if c.moment is moment
            ]
            cells.append(Cell("; ".join(parts)))
        setting = ", ".join(filter(None, (panel, partition_name(partition))))
        rows.append((Cell(setting), Cell(baseline), Cell(basis.value), *cells))
    return Table(("setting", "against", "basis", *(m.value for m in Moment)), tuple(rows))


def cost_table(results: StudyResults, panel: str, partition: str) -> Table | None:
    """What the most attackers cost every variant; None where attackers are not varied."""
    costs = attack_costs(results, panel, partition)
    if not costs:
        return None
    rows = []
    for cost in costs:
        cells = [
            accuracy_cell(cost.before),
            accuracy_cell(cost.after),
            Cell(signed_points(cost.loss)),
        ]
        more = (
            Cell("\N{EN DASH}")
            if cost.spared is None or cost.verdict is None
            else difference_cell(cost.spared, cost.verdict)
        )
        rows.append((Cell(cost.label), Cell(cost.moment.value), *cells, more))
    most = level_name(results, panel, results.levels(panel)[-1])
    columns = ("variant", "moment", "0 % attackers", most, "loss", "loses more than pFedFrz")
    return Table(columns, tuple(rows), ", ".join(filter(None, (panel, partition_name(partition)))))


def accuracy_table(results: StudyResults, panel: str, moment: Moment) -> Table:
    """The accuracy of every variant at every number of attackers, read at the round of pFedFrz."""

    def accuracy(cell: MeasuredCell) -> float:
        subject = results.subject_for(panel, cell.partition)
        return cell.at_round(moment, (subject or cell).rounds[-1])

    return _by_attackers(results, panel, accuracy, f"{panel or 'all'}: {moment.value}")


def backdoor_table(results: StudyResults, panel: str) -> Table | None:
    """How often a trigger succeeds with every variant; None where nobody plants one."""
    measured = any(c.record.backdoor_success is not None for c in results.select(panel))
    if not measured:
        return None
    return _by_attackers(results, panel, lambda cell: cell.record.backdoor_success, panel or "all")


def _by_attackers(
    results: StudyResults, panel: str, value: Callable[[MeasuredCell], float | None], title: str
) -> Table:
    """A share for every variant at every number of attackers, the mean over seeds."""
    levels = results.levels(panel)
    rows = []
    for label in results.study.variants:
        if not results.select(panel, label=label):
            continue
        row = [Cell(label)]
        for attackers in levels:
            interval = interval_of(map(value, results.select(panel, attackers, label)))
            row.append(accuracy_cell(interval) if interval else Cell("\N{EN DASH}"))
        rows.append(tuple(row))
    names = tuple(level_name(results, panel, level) for level in levels)
    return Table(("variant", *names), tuple(rows), title)


def work_table(results: StudyResults) -> Table:
    """The measured step times, and the work of a round by variant."""
    rows = []
    seen = dict.fromkeys((cell.label, cell.work_per_round, cell.passes) for cell in results.cells)
    for label, work, passes in seen:
        rows.append((Cell(label), Cell(str(passes)), Cell(f"{work:.2f}")))
    return Table(("variant", "passes in a round", "device work in a round"), tuple(rows))
