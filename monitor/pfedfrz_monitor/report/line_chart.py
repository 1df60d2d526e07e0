"""The drawing of accuracy per round as SVG: received and local, mean and spread over devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .frame import ChartSize, Frame, accuracy_axis, accuracy_ticks, round_ticks
from .markup import Element, element
from .quantities import percent_text
from .records import Moment, RunRecord
from .spread import Spread, round_spreads

__all__ = ["accuracy_chart"]

_LABEL_GAP = 15.0
_LABEL_ROOM = 100.0
_MOST_MARKERS = 40


_Points = list[tuple[int, Spread]]


def accuracy_chart(record: RunRecord, size: ChartSize, kind: str) -> Element:
    """An svg element of the class `kind`; its colours come from the page's style."""
    spreads = {moment: round_spreads(record, moment) for moment in Moment}
    low, high = accuracy_axis(spread for series in spreads.values() for spread in series)
    numbers = [row.round for row in record.rounds] or [1]
    last = record.last_round
    frame = Frame(size, min(numbers[0], 1), last, low, high)
    chart = element(
        "svg",
        {
            "class": f"chart {kind}",
            "viewBox": f"0 0 {size.width:g} {size.height:g}",
            "role": "img",
            "aria-label": _spoken(record, spreads),
        },
    )
    chart.extend(_axes(frame))
    if numbers[-1] < last:
        chart.append(_not_run(frame, numbers[-1]))
    for moment, series in spreads.items():
        points = list(zip(numbers, series, strict=False))
        for run in _runs(points):
            chart.extend(_series(frame, moment, run, len(points) <= _MOST_MARKERS))
    chart.extend(_end_labels(frame, numbers, spreads))
    chart.extend(_readings(frame, numbers, spreads))
    return chart


def _axes(frame: Frame) -> list[Element]:
    size = frame.size
    bottom, right = size.height - size.bottom, size.width - size.right
    parts = []
    for share in accuracy_ticks(frame.low, frame.high):
        y = frame.y(share)
        line = {"class": "grid", "x1": size.left, "x2": right, "y1": y, "y2": y}
        parts.append(element("line", line))
        place = {"class": "tick", "x": size.left - 8, "y": y + 4, "text-anchor": "end"}
        parts.append(element("text", place, percent_text(share, 0)))
    most = 6 if size.width < 500 else 12
    for number in round_ticks(frame.first, frame.last, most):
        place = {"class": "tick", "x": frame.x(number), "y": bottom + 18, "text-anchor": "middle"}
        parts.append(element("text", place, str(number)))
    middle = (size.left + right) / 2
    place = {"class": "tick", "x": middle, "y": size.height - 4, "text-anchor": "middle"}
    return [*parts, element("text", place, "round")]


def _not_run(frame: Frame, reached: int) -> Element:
    size = frame.size
    left, right = frame.x(reached), frame.x(frame.last)
    height = size.height - size.top - size.bottom
    area = {"class": "not-run", "x": left, "y": size.top, "width": right - left, "height": height}
    label = {"class": "tick", "x": (left + right) / 2, "y": size.top + 16, "text-anchor": "middle"}
    text = element("text", label, "not run") if right - left > 60 else None
    return element("g", {}, element("rect", area), text)


def _runs(points: Sequence[tuple[int, Spread | None]]) -> list[_Points]:
    """The points cut where a round has no measurement, so that no line bridges a gap."""
    runs: list[_Points] = [[]]
    for number, spread in points:
        if spread is not None:
            runs[-1].append((number, spread))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _series(frame: Frame, moment: Moment, run: _Points, markers: bool) -> list[Element]:
    name = moment.value
    mean = [(frame.x(n), frame.y(s.mean)) for n, s in run]
    worst = [(frame.x(n), frame.y(s.min)) for n, s in run]
    if len(run) == 1:
        # One round has no line and no band: a bar shows the spread.
        (number, spread) = run[0]
        x = frame.x(number) + (-6 if moment is Moment.RECEIVED else 6)
        ends = (frame.y(spread.mean - spread.std), frame.y(spread.mean + spread.std))
        bar = {"class": f"bar {name}", "x1": x, "x2": x, "y1": ends[0], "y2": ends[1]}
        least = frame.y(spread.min)
        cap = {"class": f"worst {name}", "x1": x - 6, "x2": x + 6, "y1": least, "y2": least}
        dot = _marker(moment, x, mean[0][1])
        return [element("line", bar), element("line", cap), dot]
    upper = [(frame.x(n), frame.y(s.mean + s.std)) for n, s in run]
    lower = [(frame.x(n), frame.y(s.mean - s.std)) for n, s in run]
    parts = [
        element("polygon", {"class": f"band {name}", "points": _path(upper + lower[::-1])}),
        element("polyline", {"class": f"worst {name}", "points": _path(worst)}),
        element("polyline", {"class": f"mean {name}", "points": _path(mean)}),
    ]
    if markers:
        parts.extend(_marker(moment, x, y) for x, y in mean)
    return parts


def _marker(moment: Moment, x: float, y: float) -> Element:
    """A circle for local, a square for received: the series differ without colour too."""
    if moment is Moment.LOCAL:
        return element("circle", {"class": "mark local", "cx": x, "cy": y, "r": 3.4})
    place = {"class": "mark received", "x": x - 3.1, "y": y - 3.1, "width": 6.2, "height": 6.2}
    return element("rect", place)


def _end_labels(
    frame: Frame, numbers: Sequence[int], spreads: dict[Moment, tuple[Spread | None, ...]]
) -> list[Element]:
    """The last mean of both series beside its end, moved apart where they would touch."""
    if frame.size.right < _LABEL_ROOM:
        return []
    ends = []
    for moment, series in spreads.items():
        known = [(n, s) for n, s in zip(numbers, series, strict=False) if s is not None]
        if known:
            number, spread = known[-1]
            ends.append((frame.y(spread.mean), frame.x(number), moment, spread.mean))
    ends.sort(key=lambda end: end[0])
    heights = [end[0] for end in ends]
    if len(heights) == 2 and heights[1] - heights[0] < _LABEL_GAP:
        middle = sum(heights) / 2
        heights = [middle - _LABEL_GAP / 2, middle + _LABEL_GAP / 2]
        shift = max(0.0, frame.size.top + 4 - heights[0])
        heights = [height + shift for height in heights]
    return [
        element(
            "text",
            {
                "class": f"end {moment.value}",
                "x": x + (16 if len(numbers) == 1 else 10),
                "y": y + 4,
            },
            f"{moment.value} {percent_text(mean)}",
        )
        for y, (_, x, moment, mean) in zip(heights, ends, strict=True)
    ]


def _readings(
    frame: Frame, numbers: Sequence[int], spreads: dict[Moment, tuple[Spread | None, ...]]
) -> list[Element]:
    """An invisible strip over every round that tells its numbers when it is pointed at."""
    size = frame.size
    half = (frame.x(frame.last) - frame.x(frame.first)) / max(1, frame.last - frame.first) / 2
    strips = []
    for position, number in enumerate(numbers):
        lines = [f"round {number}"]
        for moment, series in spreads.items():
            spread = series[position] if position < len(series) else None
            if spread is not None:
                lines.append(f"{moment.value}: {_reading(spread)}")
        middle, reach = frame.x(number), max(half, 4.0)
        left = max(size.left - 4, middle - reach)
        right = min(size.width - size.right + 4, middle + reach)
        strip = {
            "class": "reading",
            "x": left,
            "y": size.top,
            "width": right - left,
            "height": size.height - size.top - size.bottom,
        }
        strips.append(element("rect", strip, element("title", {}, "\n".join(lines))))
    return strips


def _reading(spread: Spread) -> str:
    return (
        f"{percent_text(spread.mean)} \N{PLUS-MINUS SIGN} {percent_text(spread.std)}, "
        f"from {percent_text(spread.min)} to {percent_text(spread.max)} "
        f"({spread.devices} devices)"
    )


def _spoken(record: RunRecord, spreads: dict[Moment, tuple[Spread | None, ...]]) -> str:
    """What the drawing says, for those who do not see it."""
    parts = []
    for moment, series in spreads.items():
        known = [spread for spread in series if spread is not None]
        if known:
            first, last = percent_text(known[0].mean), percent_text(known[-1].mean)
            parts.append(f"{moment.value} from {first} to {last}")
    measured = "; ".join(parts) or "nothing was measured"
    over = "benign devices" if record.knows_attackers else "devices"
    return f"Accuracy per round, mean over {over}: {measured}"


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
