"""The charts of a study: accuracy over rounds, attackers, device work and bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pfedfrz_monitor.report.frame import accuracy_axis
from pfedfrz_monitor.report.quantities import bytes_text
from pfedfrz_monitor.report.records import Moment
from pfedfrz_monitor.report.spread import Spread

from ...experiment import Experiment
from .charts import Chart, ChartGroup, Line, shown_half
from .looks import Look, assign_looks
from .measured import MeasuredCell, StudyResults
from .statistics import Interval, interval_of

__all__ = ["chart_groups"]

_Place = Callable[[MeasuredCell], Iterable[float]]
_Read = Callable[[MeasuredCell, Moment, float], float]


def chart_groups(results: StudyResults) -> list[ChartGroup]:
    """Every group that has something to show, in the order of the report."""
    groups: list[ChartGroup] = []
    partitions = list(
        dict.fromkeys(p for panel in results.panels for p in results.partitions(panel))
    )
    for partition in partitions:
        first = partition == partitions[0]
        suffix = "" if first or not partition else f"-{_slug(partition)}"
        personal = f", personal: {partition}" if partition else ""
        drawn = [
            _over_rounds(results, partition, attacked, suffix, personal)
            for attacked in (False, True)
        ]
        drawn.append(_robustness(results, partition, suffix, personal))
        if first:
            drawn += [
                _over_work(results, partition, personal),
                _over_bytes(results, partition, personal),
            ]
        groups += [group for group in drawn if group.charts]
    return groups


def _over_rounds(
    results: StudyResults, partition: str, attacked: bool, suffix: str, personal: str
) -> ChartGroup:
    charts: list[Chart] = []
    for panel in results.panels:
        levels = results.levels(panel)
        if attacked and len(levels) < 2:
            continue
        subject = results.subject_for(panel, partition)
        end = float(subject.rounds[-1]) if subject else math.inf
        charts += _pair(
            results,
            panel,
            partition,
            levels[-1] if attacked else levels[0],
            "round",
            _rounds_until(end),
            lambda cell, moment, x: cell.at_round(moment, x),
            lambda x: f"round {x:g}",
        )
    title = "with the most attackers" if attacked else "without attackers"
    if attacked is False and any(results.levels(panel)[0] for panel in results.panels):
        title = "with the fewest attackers"
    return ChartGroup(
        f"personalization{'-attacked' if attacked else ''}{suffix}",
        f"Accuracy over rounds, {title}{personal}",
        "Mean over seeds of the mean over benign devices; shaded: its 95 % interval, where "
        "there are three seeds or more. Axes show the range that there is.",
        tuple(charts),
    )


def _over_work(results: StudyResults, partition: str, personal: str) -> ChartGroup:
    charts: list[Chart] = []
    for panel in results.panels:
        charts += _pair(
            results,
            panel,
            partition,
            results.levels(panel)[0],
            "device work (epochs of training everything)",
            lambda cell: cell.work,
            lambda cell, moment, x: cell.at_work(moment, x),
            lambda x: f"work {x:.1f}",
        )
    return ChartGroup(
        "work",
        f"Accuracy over device work{personal}",
        "One unit is one epoch in which everything is trained; phases that train less cost what "
        "their step was measured to cost.",
        tuple(charts),
    )


def _over_bytes(results: StudyResults, partition: str, personal: str) -> ChartGroup:
    charts: list[Chart] = []
    for panel in results.panels:
        charts += _pair(
            results,
            panel,
            partition,
            results.levels(panel)[0],
            "uploaded by a device (logarithmic)",
            lambda cell: np.log10(cell.sent_bytes) if cell.sent_bytes[0] else np.zeros(0),
            lambda cell, moment, x: float(
                np.interp(x, np.log10(cell.sent_bytes), cell.accuracy(moment))
            ),
            lambda x: bytes_text(round(10**x)),
            logarithmic=True,
        )
    return ChartGroup(
        "bytes",
        f"Accuracy over bytes{personal}",
        "What one device has uploaded, as it goes over the wire; Local uploads nothing and is not "
        "shown.",
        tuple(charts),
    )


def _robustness(results: StudyResults, partition: str, suffix: str, personal: str) -> ChartGroup:
    charts: list[Chart] = []
    for panel in results.panels:
        if len(results.levels(panel)) < 2:
            continue
        subject = results.subject_for(panel, partition)
        end = float(subject.rounds[-1]) if subject else math.inf
        charts += _pair(
            results,
            panel,
            partition,
            None,
            "share of attackers",
            lambda cell: [100 * cell.attackers / cell.record.experiment.devices],
            _reader_at(end),
            lambda x: f"{x:g} %",
        )
    return ChartGroup(
        f"robustness{suffix}",
        f"Accuracy over the share of attackers{personal}",
        "After as many rounds as pFedFrz runs; shaded: 95 % interval over three or more seeds.",
        tuple(charts),
    )


def _pair(
    results: StudyResults,
    panel: str,
    partition: str,
    attackers: int | None,
    axis: str,
    places: _Place,
    read: _Read,
    say_x: Callable[[float], str],
    *,
    logarithmic: bool = False,
) -> list[Chart]:
    """Received and local, each on the range that it needs."""
    cells = [cell for cell in results.select(panel, attackers) if cell.partition in ("", partition)]
    looks = _looks(results)
    count = "" if attackers is None else f", {attackers} attackers"
    charts = []
    for moment in Moment:
        lines = []
        for label in results.study.variants:
            own = [cell for cell in cells if cell.label == label]
            points = _points(own, moment, places, read)
            if points:
                lines.append(Line(label, looks[label], points))
        if lines:
            title = f"{panel or 'all'}{count}: {moment.value}"
            low, high = _range(lines)
            charts.append(Chart(title, axis, tuple(lines), low, high, say_x, logarithmic))
    return charts


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    return accuracy_axis(
        Spread(i.mean, shown_half(i), i.mean, i.mean, i.count)
        for line in lines
        for _, i in line.points
    )


def _points(
    cells: Sequence[MeasuredCell], moment: Moment, places: _Place, read: _Read
) -> tuple[tuple[float, Interval], ...]:
    """Where the first seed was measured; other seeds are read at the same places."""
    if not cells:
        return ()
    by_level: dict[int, list[MeasuredCell]] = {}
    for cell in cells:
        by_level.setdefault(cell.attackers, []).append(cell)
    found = []
    for own in by_level.values():
        for x in places(own[0]):
            interval = interval_of(read(cell, moment, x) for cell in own)
            if interval is not None:
                found.append((float(x), interval))
    return tuple(sorted(found, key=lambda point: point[0]))


def _rounds_until(end: float) -> _Place:
    return lambda cell: cell.rounds[cell.rounds <= end]


def _reader_at(end: float) -> _Read:
    return lambda cell, moment, _: cell.at_round(moment, end)


def _looks(results: StudyResults) -> dict[str, Look]:
    first: dict[str, Experiment] = {}
    for cell in results.cells:
        first.setdefault(cell.label, cell.record.experiment)
    return assign_looks(
        [(label, first[label]) for label in results.study.variants if label in first]
    )


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")
