"""The sections of report.html about devices: how they were served, what they sent and did."""

from __future__ import annotations

from .device_table import device_table, mix_scale
from .heat_map import heat_map, heat_range, heat_scale, shown_devices
from .markup import Child, element
from .plain_table import MOST_ROWS
from .records import Moment, RunRecord
from .refusal_table import refusal_table
from .sections import heading, region
from .spread import final_accuracy
from .step_chart import step_chart
from .steps import StepKind, step_series
from .work_table import work_table

__all__ = [
    "devices_section",
    "map_section",
    "refusals_section",
    "steps_section",
    "work_section",
]


def map_section(record: RunRecord) -> list[Child]:
    """The heat map; nothing where nothing was measured."""
    limits = heat_range(record)
    if limits is None or not record.rounds:
        return []
    shown = len(shown_devices(record))
    some = f" {shown} of {len(record.devices)} devices: attackers and refused ones, then "
    about = element(
        "p",
        {"class": "about"},
        "The accuracy of each device after its training, round by round; an empty cell: the device "
        "had no part in the round, or measured nothing.",
        f"{some}those with the lowest accuracy." if shown < len(record.devices) else None,
    )
    crossed = element("svg", {"class": "ramp short", "viewBox": "0 0 12 12", "aria-hidden": "true"})
    crossed.append(element("path", {"class": "cross", "d": "M2,2l8,8m0,-8l-8,8"}))
    keys = [heat_scale(*limits)]
    if record.refusals:
        keys.append(element("span", {}, crossed, "an update was refused"))
    if record.settings.attackers:
        keys.append(element("span", {"class": "attacking"}, "attackers"))
    legend = element("p", {"class": "legend"}, *keys)
    drawing = region("Devices by rounds", heat_map(record, limits), kind="wide-drawing")
    figure = element("figure", {"class": "card"}, legend, drawing)
    return [heading("Devices by rounds"), about, figure]


def steps_section(record: RunRecord) -> list[Child]:
    """Lengths and cosines of updates; nothing where none was accepted."""
    titles = {
        StepKind.NORM: "Length of the step (L2 norm)",
        StepKind.COSINE: "Cosine to the mean of the others",
    }
    charts, far = [], dict[str, None]()
    for kind, title in titles.items():
        series = step_series(record, kind)
        far.update((one.device.device, None) for one in series if one.stands_out)
        if series and record.rounds:
            caption = element("figcaption", {}, title)
            charts.append(element("figure", {}, caption, step_chart(record, kind, series)))
    if not charts:
        return []
    if record.settings.attackers:
        apart = "Attackers are in their own colour."
    elif far:
        names = ", ".join(list(far)[:8]) + (f" and {len(far) - 8} more" if len(far) > 8 else "")
        apart = (
            f"Far from the others over all rounds, or kept pulling against them: {names}. Such a "
            "device may have other data than the rest, or attack: look there first."
        )
    else:
        apart = "No device is far from the others or kept pulling against them."
    about = (
        "What each accepted update would change in the shared weights. One that pulls against "
        f"the others has a cosine below 0. {apart}"
    )
    both = element("div", {"class": "card pair"}, *charts)
    return [heading("Updates"), element("p", {"class": "about"}, about), both]


def refusals_section(record: RunRecord) -> list[Child]:
    """Refused updates; nothing where there were none."""
    if not record.refusals:
        return []
    table = region("Refused updates", refusal_table(record))
    return [heading("Refused updates"), table]


def work_section(record: RunRecord) -> list[Child]:
    """What each device has done; nothing where that is not known."""
    if not any(device.parts for device in record.devices):
        return []
    about = (
        "Updates and bytes of each device in the rounds of training, and the seconds that it "
        f"spent, as it says itself.{_first_rows(record)}"
    )
    table = region("Work of devices", work_table(record))
    return [heading("Work and traffic"), element("p", {"class": "about"}, about), table]


def _first_rows(record: RunRecord) -> str:
    if len(record.devices) <= MOST_ROWS:
        return ""
    return f" The first {MOST_ROWS} of {len(record.devices)} devices; devices.csv has all."


def devices_section(record: RunRecord) -> list[Child]:
    """Every device with its labels and its accuracy."""
    times = {final_accuracy(record, moment).when for moment in Moment}
    when, attackers = ", ".join(sorted(times)), None
    if record.settings.attackers:
        attackers = (
            " Attackers train as everybody does and tamper with what they upload; no mean counts "
            "them."
        )
    if record.classes:
        said = (
            f"Each device's label mix, and its accuracy ({when}). The stronger the shade, the "
            "larger the label's share: "
        )
        about = element("p", {"class": "about"}, said, mix_scale(), attackers, _first_rows(record))
    else:
        said = f"Each device's accuracy ({when}).{_first_rows(record)}"
        about = element("p", {"class": "about"}, said, attackers)
    table = region("Devices and their labels", device_table(record))
    return [heading("Devices"), about, table]
