"""What the report of a study says, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pfedfrz_monitor.report.records import Moment

from .chart_groups import chart_groups
from .charts import ChartGroup
from .comparisons import Basis, Comparison, compare_all
from .in_short import in_short
from .measured import StudyResults
from .outline import Alert, Bullets, Command, Outline, Paragraph, Part, Section
from .settings import data_sources, setting_lines
from .statistics import Verdict
from .tables import (
    accuracy_table,
    backdoor_table,
    claim_table,
    cost_table,
    level_name,
    not_won_table,
    partition_name,
    tally_table,
    work_table,
)

__all__ = ["compose"]

_HOW_TO_READ = (
    "A number such as +2.1 \N{PLUS-MINUS SIGN} 0.4 is the accuracy of pFedFrz minus that of the "
    "baseline in percentage points, the mean over seeds with its 95 % t-interval, paired: within a "
    "seed both have the same data, attackers and initial weights. A claim holds when the whole "
    "interval is above zero, does not hold when it is below, and is undecided otherwise. Accuracy "
    "is personalised (each label weighs as much as in the device's own data) and over benign "
    "devices; received is measured when new shared weights arrive, local after training on them.",
    "pFedFrz goes over a device's data twice in a round, so every baseline is read on three bases: "
    "same epochs per phase after the same round; same passes (two epochs for methods that go over "
    "the data once) after the same round; same device work, where more rounds make up for what "
    "a round costs less. More rounds also send more bytes.",
)


def compose(results: StudyResults) -> Outline:
    """The report's outline."""
    comparisons = compare_all(results)
    groups = chart_groups(results)
    alerts = [Alert(note) for note in results.study.notes]
    if results.missing:
        alerts.append(
            Alert(
                f"The study is not finished: {results.missing} of {len(results.study.cells)} cells "
                "are missing. The same command goes on with it."
            )
        )
    outline = Outline(f"Study: {results.study.name}", results.study.about, tuple(alerts))
    add = outline.sections.append
    if comparisons:
        add(Section("In short", [in_short(results, comparisons)]))
        add(Section("How many comparisons hold", _tally(results, comparisons)))
        calm = all(results.levels(panel)[0] == 0 for panel in results.panels)
        title = "Nobody attacks" if calm else "The fewest attackers"
        add(Section(f"{title}: is pFedFrz better?", list(_claims(results, comparisons, 0))))
        attacked = list(_claims(results, comparisons, -1))
        if attacked and any(len(results.levels(panel)) > 1 for panel in results.panels):
            add(Section("Under the strongest attack: is pFedFrz better?", attacked))
    costs = _costs(results)
    if costs:
        add(Section("What the attack costs", costs))
    backdoors = _backdoors(results)
    if backdoors:
        add(Section("What the backdoor reaches", backdoors))
    diverged = list(_diverged(results))
    if diverged:
        add(Section("Runs that diverged", diverged))
    add(Section("Curves", [group for group in groups if "-" not in group.name or _is_main(group)]))
    others = [group for group in groups if "-" in group.name and not _is_main(group)]
    if others:
        add(Section("Curves of the other partitions", others, folded=True))
    if comparisons:
        add(Section("Where pFedFrz does not win", _not_won(results, comparisons)))
        between = list(_between(results, comparisons))
        if between:
            add(Section("All other comparisons", between, folded=True))
    add(Section("All accuracies", _accuracies(results), folded=True))
    add(Section("Device work", _work(results)))
    add(Section("Settings", _settings(results)))
    add(Section("The command that makes it again", [Command(results.command)]))
    return outline


def _is_main(group: ChartGroup) -> bool:
    return group.name == "personalization-attacked"


def _tally(results: StudyResults, comparisons: Sequence[Comparison]) -> list[Part]:
    chance = round(0.05 * len(comparisons))
    return [
        *(Paragraph(text) for text in _HOW_TO_READ),
        tally_table(results, comparisons),
        Paragraph(
            f"There are {len(comparisons)} comparisons; at 95 % about {chance} of them would come "
            "out wrongly by chance even if nothing differed, and comparisons of one setting share "
            "their seeds. Read patterns, not single cells."
        ),
    ]


def _claims(results: StudyResults, comparisons: Sequence[Comparison], place: int) -> Iterator[Part]:
    """Tables at the fewest (0) or the most (-1) attackers."""
    for panel in results.panels:
        attackers = results.levels(panel)[place]
        for partition in dict.fromkeys(c.partition for c in comparisons if c.panel == panel):
            own = [
                c
                for c in comparisons
                if (c.panel, c.attackers, c.partition) == (panel, attackers, partition)
            ]
            if own:
                yield claim_table(_title(results, panel, attackers, partition), own)
                yield from _shortfall(own)


def _between(results: StudyResults, comparisons: Sequence[Comparison]) -> Iterator[Part]:
    for panel in results.panels:
        for attackers in results.levels(panel)[1:-1]:
            for partition in dict.fromkeys(c.partition for c in comparisons if c.panel == panel):
                own = [
                    c
                    for c in comparisons
                    if (c.panel, c.attackers, c.partition) == (panel, attackers, partition)
                ]
                if own:
                    yield claim_table(_title(results, panel, attackers, partition), own)
                    yield from _shortfall(own)


def _shortfall(comparisons: Sequence[Comparison]) -> Iterator[Paragraph]:
    short = [c for c in comparisons if c.falls_short]
    if short:
        least = min(c.work_share for c in short)
        yield Paragraph(
            f"* The baseline's rounds end before its devices have done the same work (at "
            f"{100 * least:.0f} % of it at least); it is read at its last round."
        )


def _title(results: StudyResults, panel: str, attackers: int, partition: str) -> str:
    level = level_name(results, panel, attackers)
    return ", ".join(filter(None, (panel, level, partition_name(partition))))


def _costs(results: StudyResults) -> list[Part]:
    tables = [
        table
        for panel in results.panels
        for partition in results.partitions(panel)
        if (table := cost_table(results, panel, partition)) is not None
    ]
    if not tables:
        return []
    text = (
        "Accuracy without attackers, with the most of them, and the loss between, after as many "
        "rounds as pFedFrz runs. The last column is how much more a variant loses than pFedFrz, "
        "with the verdict on the claim that pFedFrz loses less."
    )
    return [Paragraph(text), *tables]


def _backdoors(results: StudyResults) -> list[Part]:
    tables = [t for panel in results.panels if (t := backdoor_table(results, panel)) is not None]
    if not tables:
        return []
    text = (
        "The share of triggered test samples that the benign devices' models take for the "
        "attackers' label, in percent: with the last shared weights and each device's own, before "
        "further training. Without attackers it is the rate of honest mistakes."
    )
    return [Paragraph(text), *tables]


def _diverged(results: StudyResults) -> Iterator[Part]:
    """Where weights left the finite numbers."""
    items = []
    for panel in results.panels:
        for attackers in results.levels(panel):
            for label in results.study.variants:
                cells = results.select(panel, attackers, label)
                lost = [cell for cell in cells if cell.record.rejected]
                if lost:
                    uploads = sum(cell.record.rejected for cell in lost)
                    level = level_name(results, panel, attackers)
                    setting = ", ".join(filter(None, (panel, level)))
                    items.append(
                        f"{label} at {setting}: {uploads} uploads, in {len(lost)} of {len(cells)} "
                        "seeds"
                    )
    if items:
        yield Paragraph(
            "Uploads that were not finite are refused, as a coordinator refuses them; a model "
            "that has diverged keeps the accuracy of a guess. The rounds are all that were run, "
            "also those beyond the last of pFedFrz."
        )
        yield Bullets(tuple(items))


def _not_won(results: StudyResults, comparisons: Sequence[Comparison]) -> list[Part]:
    lost = [c for c in comparisons if c.verdict is not Verdict.HOLDS]
    worse = sum(c.verdict is Verdict.FAILS for c in lost)
    text = (
        f"In {len(lost)} of {len(comparisons)} comparisons pFedFrz is not shown to be better; in "
        f"{worse} of them it is shown to be worse. All of them:"
    )
    table = not_won_table(results, comparisons)
    return [Paragraph(text), table] if lost else [Paragraph("There is none.")]


def _accuracies(results: StudyResults) -> list[Part]:
    text = (
        "Percent, mean over seeds with its 95 % t-interval. Variants with more rounds than pFedFrz "
        "are read at the round at which pFedFrz ends."
    )
    tables = [
        accuracy_table(results, panel, moment) for panel in results.panels for moment in Moment
    ]
    return [Paragraph(text), *tables]


def _work(results: StudyResults) -> list[Part]:
    times = [
        f"{name}: "
        + ", ".join(
            f"{1e6 * seconds:.0f} \N{MICRO SIGN}s {trained}"
            for trained, seconds in (
                ("personal", steps.personal),
                ("shared", steps.shared),
                ("all", steps.all),
            )
        )
        for name, steps in results.work.steps.items()
    ]
    text = (
        "One unit is one epoch in which everything is trained. A phase that trains less costs the "
        "ratio of the measured step times of the device's own graphs (onnxruntime, one thread, CPU "
        f"time, medians; {results.work.machine})."
    )
    parts: list[Part] = [Paragraph(text), work_table(results)]
    return [*parts, Bullets(tuple(times))] if times else parts


def _settings(results: StudyResults) -> list[Part]:
    return [
        Paragraph("Every hyper-parameter is our choice."),
        Bullets(tuple(setting_lines(results))),
        Bullets(tuple(data_sources(results))),
        Paragraph(f"Bases of comparison: {', '.join(basis.value for basis in Basis)}."),
    ]
