"""The heat map of devices by rounds: how well each was served, and when it was refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from .frame import round_ticks
from .markup import Element, element
from .quantities import percent_text
from .records import DeviceRecord, Moment, RunRecord
from .spread import final_accuracy, spread_of

__all__ = ["HEAT_LEVELS", "heat_map", "heat_range", "heat_scale", "shown_devices"]

HEAT_LEVELS = 20
"""Steps of shading; the page's style has one class for each."""

_MOST_DEVICES = 120
_MOST_COLUMNS = 160
_MOST_TOLD = 2000
"""Cells that tell their numbers one by one when they are pointed at."""
_TOP, _BOTTOM, _RIGHT = 4.0, 36.0, 12.0
_WIDTH = 960.0
_WIDEST_CELL = 60.0
_LETTER = 6.7
_LONGEST_NAME = 22


def shown_devices(record: RunRecord) -> list[DeviceRecord]:
    """The devices that the map has a row for, in the record's order: at most 120.

    Attackers and devices that were refused go before the others, then those with the lowest
    accuracy.
    """
    if len(record.devices) <= _MOST_DEVICES:
        return list(record.devices)
    refused = {refusal.device for refusal in record.refusals}
    finals = final_accuracy(record, Moment.LOCAL).per_device

    def rank(place: int) -> tuple[bool, bool, float]:
        device, final = record.devices[place], finals[place]
        unmeasured = final is None or not math.isfinite(final)
        return not device.attacker, device.device not in refused, 2.0 if unmeasured else final or 0

    chosen = sorted(range(len(record.devices)), key=rank)[:_MOST_DEVICES]
    return [record.devices[place] for place in sorted(chosen)]


def heat_range(record: RunRecord) -> tuple[float, float] | None:
    """From which to which local accuracy the shades go, in whole tenths; None without any."""
    known = spread_of(value for device in record.devices for value in device.local)
    if known is None:
        return None
    low = min(9, math.floor(round(known.min * 10, 6)))
    high = max(low + 1, math.ceil(round(known.max * 10, 6)))
    return low / 10, high / 10


def heat_scale(low: float, high: float) -> Element:
    """The legend of the shading."""
    steps = [
        element("rect", {"class": f"h{level}", "x": 6 * (level - 1), "width": 6, "height": 12})
        for level in range(1, HEAT_LEVELS + 1)
    ]
    drawing = element("svg", {"class": "ramp", "viewBox": "0 0 120 12", "aria-hidden": "true"})
    drawing.extend(steps)
    return element(
        "span", {}, percent_text(low, 0), drawing, percent_text(high, 0), " local accuracy"
    )


def heat_map(record: RunRecord, limits: tuple[float, float]) -> Element:
    """An svg element with a row for each of `shown_devices`."""
    devices = shown_devices(record)
    bins = _bins(len(record.rounds))
    names = [_shortened(device.device) for device in devices]
    left = 14 + _LETTER * max(map(len, names), default=0)
    width = min(_WIDEST_CELL, (_WIDTH - left - _RIGHT) / max(1, len(bins)))
    height = 18.0 if len(devices) <= 40 else 12.0
    size = (left + width * len(bins) + _RIGHT, _TOP + height * len(devices) + _BOTTOM)
    drawing = element(
        "svg",
        {
            "class": "heat",
            "viewBox": f"0 0 {size[0]:g} {size[1]:g}",
            "width": size[0],
            "role": "img",
            "aria-label": f"Local accuracy of {len(devices)} devices in "
            f"{len(record.rounds)} rounds; devices.csv has the numbers",
        },
    )
    tells = len(devices) * len(bins) <= _MOST_TOLD
    refused = {(refusal.device, refusal.round) for refusal in record.refusals}
    for row, (device, name) in enumerate(zip(devices, names, strict=True)):
        y = _TOP + row * height
        kind = "name attacker" if device.attacker else "name"
        place = {"class": kind, "x": left - 8, "y": y + height * 0.72, "text-anchor": "end"}
        drawing.append(element("text", place, name))
        drawing.extend(_cells(record, device, bins, limits, (left, y, width, height), tells))
        for column, of_bin in enumerate(bins):
            if any((device.device, record.rounds[n].round) in refused for n in of_bin):
                drawing.append(_cross(left + (column + 0.5) * width, y + height / 2, width))
    drawing.extend(_round_labels(record, bins, left, width, size[1]))
    return drawing


def _bins(rounds: int) -> list[range]:
    """The positions of rounds that share a column."""
    each = max(1, math.ceil(rounds / _MOST_COLUMNS))
    return [range(first, min(first + each, rounds)) for first in range(0, rounds, each)]


def _cells(
    record: RunRecord,
    device: DeviceRecord,
    bins: Sequence[range],
    limits: tuple[float, float],
    box: tuple[float, float, float, float],
    tells: bool,
) -> list[Element]:
    left, y, width, height = box
    shown = [_last_known(device, of_bin) for of_bin in bins]
    gap = 1.0 if width > 5 else 0.0

    def cell(column: int, columns: int, level: int, title: str) -> Element:
        place = {
            "class": f"h{level}",
            "x": left + column * width,
            "y": y,
            "width": columns * width - gap,
            "height": height - 1,
        }
        return element("rect", place, element("title", {}, title) if title else None)

    levels = [0 if value is None else _level(value, *limits) for value in shown]
    if tells:
        return [
            cell(column, 1, level, _told(record, device, bins[column], shown[column]))
            for column, level in enumerate(levels)
        ]
    cells, column = [], 0
    for level, same in groupby(levels):
        columns = len(list(same))
        if level:
            cells.append(cell(column, columns, level, ""))
        column += columns
    return cells


def _last_known(device: DeviceRecord, of_bin: range) -> float | None:
    for position in reversed(of_bin):
        value = device.local[position]
        if value is not None and math.isfinite(value):
            return value
    return None


def _told(record: RunRecord, device: DeviceRecord, of_bin: range, value: float | None) -> str:
    position = of_bin[-1]
    part = device.parts[position] if device.parts else None
    said = [f"{device.device}, round {record.rounds[position].round}"]
    said.append(f"local {percent_text(value)}" if value is not None else "not measured")
    if part is not None and part.outcome != "accepted":
        said.append(part.outcome)
    return ": ".join((said[0], ", ".join(said[1:])))


def _level(value: float, low: float, high: float) -> int:
    share = (value - low) / (high - low)
    return max(1, min(HEAT_LEVELS, 1 + round((HEAT_LEVELS - 1) * share)))


def _cross(x: float, y: float, width: float) -> Element:
    arm = max(1.5, min(4.0, width / 2 - 1))
    ends = f"M{x - arm:.1f},{y - arm:.1f}l{2 * arm:.1f},{2 * arm:.1f}m0,{-2 * arm:.1f}"
    return element("path", {"class": "cross", "d": f"{ends}l{-2 * arm:.1f},{2 * arm:.1f}"})


def _round_labels(
    record: RunRecord, bins: Sequence[range], left: float, width: float, height: float
) -> list[Element]:
    numbers = [record.rounds[of_bin[0]].round for of_bin in bins]
    most = max(2, min(16, int(len(bins) * width / 28)))
    labels = []
    for place in round_ticks(0, len(bins) - 1, most) if bins else ():
        where = {"class": "tick", "x": left + (place + 0.5) * width, "y": height - 20}
        labels.append(element("text", {**where, "text-anchor": "middle"}, str(numbers[place])))
    middle = {"class": "tick", "x": left + len(bins) * width / 2, "y": height - 4}
    return [*labels, element("text", {**middle, "text-anchor": "middle"}, "round")]


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
