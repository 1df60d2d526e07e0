"""The drawing of the updates' steps by round: a line for each device, those apart in colour."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from .frame import round_ticks
from .markup import Element, element
from .quantities import number_text
from .records import RunRecord
from .steps import StepKind, StepSeries

__all__ = ["step_chart"]

_WIDTH, _HEIGHT = 470.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 40.0
_MOST_LINES = 60
_MOST_APART = 12
_LOGARITHMIC = 20.0
"""Largest over smallest from which lengths are drawn by their logarithms."""
_MOST_POINTS = 150
_LIMITS = (0.2, 0.4)
"""Of the scale of cosines, as far as they have room in them; ticks fall on 0."""


class _Scale:
    """Maps rounds and values to positions."""

    def __init__(self, kind: StepKind, record: RunRecord, values: Sequence[float]) -> None:
        self.first, self.last = min(record.rounds[0].round, 1), record.last_round
        positive = [value for value in values if value > 0]
        self.is_log = (
            kind is StepKind.NORM
            and bool(positive)
            and max(positive) / min(positive) > _LOGARITHMIC
        )
        if kind is StepKind.COSINE:
            # Where data differ much, all cosines are near 0: they get the room.
            largest = max(map(abs, values))
            self.high = next((limit for limit in _LIMITS if largest < 0.92 * limit), 1.0)
            self.low = -self.high if min(values) < 0 else 0.0
        elif self.is_log:
            self.low, self.high = min(positive) / 1.15, max(positive) * 1.15
        else:
            self.low, self.high = 0.0, max(positive, default=1.0) * 1.08

    def x(self, number: float) -> float:
        inner = _WIDTH - _LEFT - _RIGHT
        if self.last == self.first:
            return _LEFT + inner / 2
        return _LEFT + inner * (number - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)

    @property
    def ticks(self) -> list[float]:
        if self.is_log:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            each = max(1, math.ceil((high - low) / 6))
            steps = (1, 2, 5) if high - low <= 2 else (1,)
            every = [s * 10.0**power for power in range(low, high + 1, each) for s in steps]
            return [tick for tick in every if self.low <= tick <= self.high]
        span = self.high - self.low
        rough = 10.0 ** math.floor(math.log10(span / 4))
        step = next(s * rough for s in (1, 2, 2.5, 5, 10) if span / (s * rough) <= 5)
        count = int(span / step + 1e-9)
        return [round(self.low + place * step, 12) for place in range(count + 1)]


def step_chart(record: RunRecord, kind: StepKind, series: Sequence[StepSeries]) -> Element:
    """An svg element; `series` is not empty."""
    values = [value for one in series for value in one.values if value is not None]
    scale = _Scale(kind, record, values)
    numbers = [row.round for row in record.rounds]
    drawing = element(
        "svg",
        {
            "class": "chart steps",
            "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}",
            "role": "img",
            "aria-label": _spoken(kind, series),
        },
    )
    drawing.extend(_axes(scale))
    apart = [one for one in series if _is_apart(record, one)]
    common = [one for one in series if not _is_apart(record, one)]
    if len(common) > _MOST_LINES:
        drawing.extend(_crowd(scale, numbers, common))
    else:
        for one in common:
            drawing.extend(_line(scale, numbers, one, "step"))
    colour = "apart attacker" if record.settings.attackers else "apart"
    for one in apart[:_MOST_APART]:
        drawing.extend(_line(scale, numbers, one, f"step {colour}"))
    return drawing


def _is_apart(record: RunRecord, series: StepSeries) -> bool:
    """Where somebody knows who attacks, those; else whoever stands out."""
    return series.device.attacker if record.settings.attackers else series.stands_out


def _axes(scale: _Scale) -> list[Element]:
    parts = []
    for tick in scale.ticks:
        y = scale.y(tick)
        kind = "grid zero" if tick == 0 and scale.low < 0 else "grid"
        parts.append(
            element("line", {"class": kind, "x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": y, "y2": y})
        )
        place = {"class": "tick", "x": _LEFT - 7, "y": y + 4, "text-anchor": "end"}
        parts.append(element("text", place, number_text(tick)))
    for number in round_ticks(scale.first, scale.last, 7):
        place = {"class": "tick", "x": scale.x(number), "y": _HEIGHT - _BOTTOM + 18}
        parts.append(element("text", {**place, "text-anchor": "middle"}, str(number)))
    middle = {"class": "tick", "x": (_LEFT + _WIDTH - _RIGHT) / 2, "y": _HEIGHT - 4}
    return [*parts, element("text", {**middle, "text-anchor": "middle"}, "round")]


def _line(scale: _Scale, numbers: Sequence[int], one: StepSeries, kind: str) -> list[Element]:
    known = [(n, v) for n, v in zip(numbers, one.values, strict=True) if v is not None]
    known = known[:: max(1, math.ceil(len(known) / _MOST_POINTS))]
    places = [(scale.x(n), scale.y(v)) for n, v in known]
    mean = statistics.fmean(v for _, v in known)
    title = f"{one.device.device}: {number_text(mean)} on average"
    if len(places) == 1 or "apart" in kind:
        dots = [
            element("circle", {"cx": x, "cy": y, "r": 2.6 if "apart" in kind else 2.2})
            for x, y in places
        ]
    else:
        dots = []
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = element("polyline", {"points": path}) if len(places) > 1 else None
    return [element("g", {"class": kind}, element("title", {}, title), line, *dots)]


def _crowd(scale: _Scale, numbers: Sequence[int], series: Sequence[StepSeries]) -> list[Element]:
    """The median, and the band that holds nine devices of ten."""
    upper, lower, middle = [], [], []
    for position in range(0, len(numbers), max(1, math.ceil(len(numbers) / _MOST_POINTS))):
        values = sorted(v for one in series if (v := one.values[position]) is not None)
        if values:
            x, last = scale.x(numbers[position]), len(values) - 1
            upper.append((x, scale.y(values[math.ceil(0.95 * last)])))
            lower.append((x, scale.y(values[math.floor(0.05 * last)])))
            middle.append((x, scale.y(statistics.median(values))))
    band, line = (
        " ".join(f"{x:.1f},{y:.1f}" for x, y in points) for points in (upper + lower[::-1], middle)
    )
    title = element("title", {}, f"{len(series)} devices: the median, and nine of ten around it")
    return [
        element("polygon", {"class": "band local", "points": band}),
        element("g", {"class": "step crowd"}, title, element("polyline", {"points": line})),
    ]


def _spoken(kind: StepKind, series: Sequence[StepSeries]) -> str:
    what = (
        "Length of updates"
        if kind is StepKind.NORM
        else "Cosine of updates to the mean of the others"
    )
    far = [one.device.device for one in series if one.stands_out]
    said = f"; far from the others: {', '.join(far[:_MOST_APART])}" if far else ""
    return f"{what} by round, {len(series)} devices{said}"
