"""A chart as SVG; its colours come from the page's style, so that it is right in light and dark."""

from __future__ import annotations

import math

from pfedfrz_monitor.report.frame import accuracy_ticks
from pfedfrz_monitor.report.markup import Element, element
from pfedfrz_monitor.report.quantities import percent_text

from .charts import Chart, Line, shown_half
from .looks import MARKERS, Look

__all__ = ["draw_chart", "draw_key"]

_WIDTH, _HEIGHT = 420.0, 262.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 10.0, 40.0
_ROOM = 0.03
"""Of the width, left free on both sides."""
_TICKS = 5


class _Scale:
    """Maps places and accuracies to positions."""

    def __init__(self, chart: Chart) -> None:
        first, last = chart.reach
        room = _ROOM * (last - first)
        self.first, self.last = first - room, last + room
        self.low, self.high = chart.low, chart.high

    def x(self, place: float) -> float:
        inner = _WIDTH - _LEFT - _RIGHT
        return _LEFT + inner * (place - self.first) / (self.last - self.first)

    def y(self, share: float) -> float:
        inner = _HEIGHT - _TOP - _BOTTOM
        clipped = min(max(share, self.low), self.high)
        return _TOP + inner * (self.high - clipped) / (self.high - self.low)


def draw_chart(chart: Chart) -> Element:
    """An svg element; pointing at a place tells its numbers."""
    scale = _Scale(chart)
    drawing = element(
        "svg",
        {
            "class": "chart",
            "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}",
            "role": "img",
            "aria-label": _spoken(chart),
        },
    )
    drawing.extend(_axes(chart, scale))
    for line in chart.lines:
        drawing.append(_band(line, scale))
    # The first variant, which is pFedFrz, is drawn last and lies on top.
    for line in reversed(chart.lines):
        drawing.extend(_line(line, scale))
    drawing.extend(_readings(chart, scale))
    return drawing


def draw_key(look: Look) -> Element:
    """A piece of a variant's line with its marker, for the legend."""
    attributes = {"class": "key", "viewBox": "0 0 26 12", "aria-hidden": "true"}
    line = {"class": _stroke(look), "x1": 1, "x2": 25, "y1": 6, "y2": 6}
    return element("svg", attributes, element("line", line), _marker(look, 13, 6))


def _axes(chart: Chart, scale: _Scale) -> list[Element]:
    parts = []
    for share in accuracy_ticks(chart.low, chart.high):
        y = scale.y(share)
        line = {"class": "grid", "x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": y, "y2": y}
        parts.append(element("line", line))
        place = {"class": "tick", "x": _LEFT - 7, "y": y + 4, "text-anchor": "end"}
        parts.append(element("text", place, percent_text(share, 0)))
    baseline = _HEIGHT - _BOTTOM
    for place_x in chart.ticks(_TICKS):
        position = {"class": "tick", "x": scale.x(place_x), "y": baseline + 17}
        text = {**position, "text-anchor": "middle"}
        parts.append(element("text", text, chart.short_x(place_x)))
    middle = {"class": "tick", "x": (_LEFT + _WIDTH - _RIGHT) / 2, "y": _HEIGHT - 5}
    return [*parts, element("text", {**middle, "text-anchor": "middle"}, chart.axis)]


def _band(line: Line, scale: _Scale) -> Element:
    upper = [(scale.x(x), scale.y(i.mean + shown_half(i))) for x, i in line.points]
    lower = [(scale.x(x), scale.y(i.mean - shown_half(i))) for x, i in line.points]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in upper + lower[::-1])
    return element("polygon", {"class": f"area f{line.look.number}", "points": points})


def _line(line: Line, scale: _Scale) -> list[Element]:
    places = [(scale.x(x), scale.y(i.mean)) for x, i in line.points]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = [_marker(line.look, x, y) for x, y in places]
    return [element("polyline", {"class": _stroke(line.look), "points": points}), *marks]


def _stroke(look: Look) -> str:
    return f"mean s{look.number}" + (" dashed" if look.dashed else "")


def _marker(look: Look, x: float, y: float) -> Element:
    kind, fill = MARKERS[look.number], f"mark f{look.number}"
    if kind == "circle":
        return element("circle", {"class": fill, "cx": x, "cy": y, "r": 3.2})
    if kind == "square":
        return element("rect", {"class": fill, "x": x - 3, "y": y - 3, "width": 6, "height": 6})
    corners = {
        "triangle": ((0, -4), (3.6, 3), (-3.6, 3)),
        "diamond": ((0, -4), (4, 0), (0, 4), (-4, 0)),
        "cross": (
            *((-3.4, -1.4), (-1.4, -1.4), (-1.4, -3.4), (1.4, -3.4), (1.4, -1.4), (3.4, -1.4)),
            *((3.4, 1.4), (1.4, 1.4), (1.4, 3.4), (-1.4, 3.4), (-1.4, 1.4), (-3.4, 1.4)),
        ),
    }[kind]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return element("polygon", {"class": fill, "points": points})


def _readings(chart: Chart, scale: _Scale) -> list[Element]:
    """Invisible strips that tell the numbers of the nearest points."""
    places = sorted({place for line in chart.lines for place, _ in line.points})
    strips = []
    for number, place in enumerate(places):
        before = places[number - 1] if number else scale.first
        after = places[number + 1] if number + 1 < len(places) else scale.last
        left = scale.x((before + place) / 2) if number else _LEFT
        right = scale.x((after + place) / 2) if number + 1 < len(places) else _WIDTH - _RIGHT
        told = [chart.say_x(place)]
        for line in chart.lines:
            interval = next((i for x, i in line.points if math.isclose(x, place)), None)
            if interval is not None:
                told.append(f"{line.label}: {percent_text(interval.mean)}" + _spread(interval.half))
        strip = {"class": "reading", "x": left, "y": _TOP, "width": right - left}
        strip["height"] = _HEIGHT - _TOP - _BOTTOM
        strips.append(element("rect", strip, element("title", {}, "\n".join(told))))
    return strips


def _spread(half: float | None) -> str:
    return "" if half is None else f" \N{PLUS-MINUS SIGN} {percent_text(half)}"


def _spoken(chart: Chart) -> str:
    ends = "; ".join(
        f"{line.label} ends at {percent_text(line.points[-1][1].mean)}" for line in chart.lines
    )
    return f"{chart.title}, over {chart.axis}: {ends}"
