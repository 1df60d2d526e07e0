"""The PNG plots, for slides and papers: always on white."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .figure_style import FIGURE_STYLE, png
from .frame import accuracy_axis, accuracy_ticks, round_ticks
from .palette import LIGHT
from .records import Moment, RunRecord
from .spread import Spread, round_spreads

__all__ = ["accuracy_plot", "label_mix_plot"]

_COLOURS = {Moment.RECEIVED: LIGHT.received, Moment.LOCAL: LIGHT.local}
_MARKERS = {Moment.RECEIVED: "s", Moment.LOCAL: "o"}
_MOST_MARKERS = 40


def accuracy_plot(record: RunRecord) -> bytes:
    """accuracy.png: both accuracies per round, mean, standard deviation and the worst device."""
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot()
        spreads = {moment: round_spreads(record, moment) for moment in Moment}
        numbers = [row.round for row in record.rounds] or [1]
        for moment, series in spreads.items():
            _draw_series(axes, moment, numbers, series)
        low, high = accuracy_axis(spread for series in spreads.values() for spread in series)
        axes.set_ylim(100 * low, 100 * high)
        axes.set_yticks([100 * share for share in accuracy_ticks(low, high)])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
        axes.grid(axis="y", color=LIGHT.line, linewidth=0.8)
        axes.set_axisbelow(True)
        first, last = min(numbers[0], 1), record.last_round
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.set_xticks(round_ticks(first, last, 12))
        axes.set_xlabel("round")
        if numbers[-1] < last:
            axes.axvspan(numbers[-1] + 0.5, last + 0.5, color=LIGHT.faint, alpha=0.08, lw=0)
            middle = (numbers[-1] + last + 1) / 2
            axes.annotate(
                "not run",
                (middle, 100 * high),
                (0, -6),
                textcoords="offset points",
                ha="center",
                va="top",
                color=LIGHT.faint,
            )
        axes.set_title(f"{_run_title(record)}\n", fontsize=11)
        over = "benign devices" if record.knows_attackers else "devices"
        axes.text(
            0,
            1.02,
            f"personalised accuracy over {over}: mean, \N{PLUS-MINUS SIGN} one standard "
            "deviation, worst device dotted",
            transform=axes.transAxes,
            color=LIGHT.faint,
            fontsize=8.5,
        )
        if any(spread for series in spreads.values() for spread in series):
            axes.legend(loc="lower right", ncols=2)
        return png(figure)


def label_mix_plot(record: RunRecord) -> bytes:
    """label_mix.png: the share of each label on each device, attackers in their own colour."""
    unknown = (0.0,) * record.classes
    mix = np.array([device.label_mix or unknown for device in record.devices], dtype=np.float64)
    devices, classes = mix.shape
    attacking = np.array([device.attacker for device in record.devices], dtype=bool)
    row_in = 0.26 if devices <= 30 else 0.13
    with mpl.rc_context(FIGURE_STYLE):
        height = min(40.0, 1.5 + row_in * max(3, devices))
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot()
        for rows, colour in ((~attacking, LIGHT.local), (attacking, LIGHT.attacker)):
            shown = np.where(rows[:, None], mix, np.nan)
            shades = LinearSegmentedColormap.from_list("shades", ["#f4f6f7", colour])
            axes.pcolormesh(
                shown, cmap=shades, norm=PowerNorm(0.5, 0, 1), edgecolors="white", linewidth=0.8
            )
        axes.set_ylim(devices, 0)
        axes.set_xticks(np.arange(classes) + 0.5, [str(label) for label in range(classes)])
        if classes > 20:
            axes.set_xticks(np.arange(0, classes, 5) + 0.5, [str(k) for k in range(0, classes, 5)])
        axes.set_yticks(
            np.arange(devices) + 0.5,
            [_shortened(device.device) if devices <= 200 else "" for device in record.devices],
            fontsize=9 if devices <= 30 else 6,
        )
        for tick, attacker in zip(axes.get_yticklabels(), attacking, strict=True):
            if attacker:
                tick.set_color(LIGHT.attacker)
                tick.set_fontweight("bold")
        if devices * classes <= 300:
            _write_shares(axes, mix)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("label")
        axes.set_title("Share of each label on each device")
        if attacking.any():
            patches = [Patch(color=LIGHT.local), Patch(color=LIGHT.attacker)]
            figure.legend(patches, ["benign", "attacker"], loc="outside upper right", ncols=2)
        return png(figure)


def _draw_series(
    axes: Axes, moment: Moment, numbers: Sequence[int], series: Sequence[Spread | None]
) -> None:
    def column(values: Sequence[float | None]) -> list[float]:
        # A NaN breaks the line where a round has no measurement.
        return [math.nan if value is None else 100 * value for value in values]

    means = column([spread.mean if spread else None for spread in series])
    if not any(math.isfinite(mean) for mean in means):
        return
    x = numbers[: len(means)]
    colour, marker = _COLOURS[moment], _MARKERS[moment] if len(x) <= _MOST_MARKERS else ""
    worst = column([spread.min if spread else None for spread in series])
    low = column([max(0.0, spread.mean - spread.std) if spread else None for spread in series])
    high = column([min(1.0, spread.mean + spread.std) if spread else None for spread in series])
    if len(x) == 1:
        bars = [[means[0] - low[0]], [high[0] - means[0]]]
        axes.errorbar(x, means, bars, color=colour, alpha=0.5, capsize=4, lw=2)
        axes.plot(x, worst, "_", color=colour, markersize=12)
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(x, worst, color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.plot(
        x,
        means,
        color=colour,
        linewidth=2,
        marker=marker,
        markersize=5.5,
        markeredgecolor="white",
        label=moment.value,
    )


def _write_shares(axes: Axes, mix: NDArray[np.float64]) -> None:
    for (row, label), share in np.ndenumerate(mix):
        if share >= 0.01:
            colour = "white" if share > 0.5 else LIGHT.text
            axes.text(
                label + 0.5,
                row + 0.5,
                f"{100 * share:.0f}",
                color=colour,
                size=8,
                ha="center",
                va="center",
            )


def _run_title(record: RunRecord) -> str:
    settings = record.settings
    noun = "device" if settings.devices == 1 else "devices"
    if settings.dataset is None:
        return f"{_shortened(record.name)}, {settings.devices} {noun}"
    split = "IID" if settings.alpha is None else f"alpha {settings.alpha:g}"
    if settings.has_other_split:
        split = _shortened(settings.split)
    attackers = f", {settings.attackers} attacking" if settings.attackers else ""
    dataset = _shortened(settings.dataset)
    return f"{settings.method} on {dataset}, {split}, {settings.devices} {noun}{attackers}"


def _shortened(name: str) -> str:
    # A dollar sign would start a formula.
    short = name if len(name) <= 28 else f"{name[:27]}\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")
