"""The PNG plots of a study, in the style of a run's report."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pfedfrz_monitor.report.figure_style import FIGURE_STYLE, png
from pfedfrz_monitor.report.frame import accuracy_ticks
from pfedfrz_monitor.report.palette import LIGHT

from .charts import Chart, ChartGroup, shown_half
from .looks import COLOURS, MARKERS, Look

__all__ = ["draw_group"]

_MARKS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "cross": "X"}
_COLUMNS = 2
_MOST_TICKS = 7


def draw_group(group: ChartGroup) -> bytes:
    """The charts of a group side by side, received and local in a row, one legend below."""
    rows = -(-len(group.charts) // _COLUMNS)
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(11, 3.1 * rows + 0.9), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, chart in zip(grid, group.charts, strict=False):
            _draw(axes, chart)
        for axes in grid[len(group.charts) :]:
            axes.set_visible(False)
        figure.suptitle(group.title, fontsize=13, fontweight="bold", x=0.01, ha="left")
        handles = [
            Line2D([], [], **_line_style(look), label=label) for label, look in group.looks.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(4, len(handles)),
            handlelength=3.2,
        )
        return png(figure)


def _draw(axes: Axes, chart: Chart) -> None:
    # The first variant, which is pFedFrz, is drawn last and lies on top.
    for line in reversed(chart.lines):
        x = [place for place, _ in line.points]
        means = [100 * interval.mean for _, interval in line.points]
        halves = [100 * shown_half(interval) for _, interval in line.points]
        axes.plot(x, means, **_line_style(line.look))
        low = [mean - half for mean, half in zip(means, halves, strict=True)]
        high = [mean + half for mean, half in zip(means, halves, strict=True)]
        colour = COLOURS[line.look.number][0]
        if len(x) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        else:
            axes.errorbar(x, means, halves, color=colour, alpha=0.5, capsize=3)
    first, last = chart.reach
    room = 0.03 * (last - first)
    axes.set_xlim(first - room, last + room)
    axes.set_ylim(100 * chart.low, 100 * chart.high)
    axes.set_yticks([100 * share for share in accuracy_ticks(chart.low, chart.high)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    ticks = chart.ticks(_MOST_TICKS)
    axes.set_xticks(ticks, [chart.short_x(place) for place in ticks])
    axes.grid(axis="y", color=LIGHT.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(chart.axis)
    axes.set_title(chart.title.replace("$", r"\$"), fontsize=10)


def _line_style(look: Look) -> dict[str, Any]:
    return {
        "color": COLOURS[look.number][0],
        "marker": _MARKS[MARKERS[look.number]],
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "linestyle": "--" if look.dashed else "-",
        "linewidth": 1.7,
    }
