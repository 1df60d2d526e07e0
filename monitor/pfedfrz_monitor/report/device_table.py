"""The table of devices: who holds which labels, and how well each was served."""

from __future__ import annotations

import math

from .markup import Element, element
from .plain_table import MOST_ROWS
from .quantities import percent_text
from .records import DeviceRecord, Moment, RunRecord
from .spread import final_accuracy

__all__ = ["MIX_LEVELS", "device_table", "mix_level", "mix_scale"]

MIX_LEVELS = 20
"""Steps of shading; the page's style has one class for each."""

_MOST_NUMBERED = 12
_SPARK_WIDTH, _SPARK_HEIGHT = 84.0, 22.0


def mix_level(share: float) -> int:
    """Shading of a label's share, 0 to MIX_LEVELS, by its square root.

    The root keeps the tenth that every label has in an even mix apart from nothing.
    """
    if not share > 0:
        return 0
    return max(1, min(MIX_LEVELS, round(MIX_LEVELS * math.sqrt(share))))


def device_table(record: RunRecord) -> Element:
    """A table with a row for every device and a shaded cell for every label."""
    finals = [final_accuracy(record, moment) for moment in Moment]
    rows = [
        _row(record, device, (finals[0].per_device[position], finals[1].per_device[position]))
        for position, device in enumerate(record.devices[:MOST_ROWS])
    ]
    kind = "devices numbered" if record.classes <= _MOST_NUMBERED else "devices many-labels"
    return element("table", {"class": kind}, _head(record), element("tbody", {}, *rows))


def mix_scale() -> Element:
    """The legend of the shading."""
    steps = [
        element("span", {"class": f"step m{mix_level(share)}"}, percent_text(share, 0))
        for share in (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    ]
    return element("span", {"class": "scale"}, *steps)


def _head(record: RunRecord) -> Element:
    classes = record.classes
    numbered = [label for label in range(classes) if classes <= 20 or label % 5 == 0]
    labels = [
        element("th", {"scope": "col", "class": "label"}, str(k) if k in numbered else "")
        for k in range(classes)
    ]
    share = {"colspan": str(classes), "scope": "colgroup", "class": "group"}
    over = element(
        "tr",
        {},
        element("td", {"colspan": "2"}),
        element("th", {"colspan": "2", "scope": "colgroup", "class": "group"}, "accuracy"),
        element("td", {"class": "spark"}),
        element("th", share, "share of each label") if classes else None,
    )
    under = element(
        "tr",
        {},
        element("th", {"scope": "col", "class": "name"}, "device"),
        element("th", {"scope": "col", "class": "number samples"}, "samples"),
        element("th", {"scope": "col", "class": "number"}, "received"),
        element("th", {"scope": "col", "class": "number"}, "local"),
        element("th", {"scope": "col", "class": "spark"}, "by round"),
        *labels,
    )
    return element("thead", {}, over, under)


def _row(
    record: RunRecord, device: DeviceRecord, finals: tuple[float | None, float | None]
) -> Element:
    badge = element("span", {"class": "badge"}, "attacker") if device.attacker else None
    cells = [
        element(
            "td",
            {"class": f"mix m{mix_level(share)}", "title": f"label {label}: {percent_text(share)}"},
            element("span", {}, f"{100 * share:.0f}") if share >= 0.01 else None,
        )
        if share > 0
        else element("td", {"class": "mix"})
        for label, share in enumerate(device.label_mix)
    ]
    return element(
        "tr",
        {"class": "attacker"} if device.attacker else {},
        element("th", {"scope": "row", "class": "name"}, device.device, badge),
        element("td", {"class": "number samples"}, f"{device.samples}"),
        element("td", {"class": "number"}, percent_text(finals[0])),
        element("td", {"class": "number"}, percent_text(finals[1])),
        element("td", {"class": "spark"}, _spark(record, device)),
        *cells,
    )


def _spark(record: RunRecord, device: DeviceRecord) -> Element:
    """Both accuracies of one device over the rounds, from 0 to 100 %."""
    drawing = element(
        "svg",
        {"viewBox": f"0 0 {_SPARK_WIDTH:g} {_SPARK_HEIGHT:g}", "aria-hidden": "true"},
    )
    last = max(record.settings.rounds or 0, len(record.rounds), 2)
    for moment in Moment:
        points = [
            (
                2 + (_SPARK_WIDTH - 4) * position / (last - 1),
                2 + (_SPARK_HEIGHT - 4) * (1 - min(max(share, 0.0), 1.0)),
            )
            for position, share in enumerate(device.accuracy(moment))
            if share is not None and math.isfinite(share)
        ]
        if len(points) == 1:
            (x, y) = points[0]
            place = {"class": f"mark {moment.value}", "cx": x, "cy": y, "r": 1.8}
            drawing.append(element("circle", place))
        elif points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            drawing.append(element("polyline", {"class": f"mean {moment.value}", "points": path}))
    return drawing
