"""report.html: one file that stands alone, without a script and without a request to anywhere."""

from __future__ import annotations

from .device_table import device_table, mix_scale
from .document import document, footer
from .frame import ChartSize
from .line_chart import accuracy_chart
from .markup import Child, Element, element
from .quantities import MISSING, bytes_text, duration_text, percent_text
from .records import Moment, RunRecord, RunSettings
from .round_table import round_table
from .spread import final_accuracy

__all__ = ["encode_page"]

_WIDE = ChartSize(980, 340, right=128)
_NARROW = ChartSize(346, 250, right=16)


def encode_page(record: RunRecord) -> bytes:
    """The report of a run as one HTML document."""
    body = element(
        "main",
        {},
        *_header(record),
        _tiles(record),
        *_accuracy(record),
        *_devices(record),
        *_rounds(record),
        *_settings(record),
        *_notes(record),
        *_command(record),
        footer("summary.json, rounds.csv, devices.csv"),
    )
    return document(f"{record.settings.method} on {record.settings.dataset}: report", body)


def _header(record: RunRecord) -> list[Child]:
    settings = record.settings
    attackers = f", {settings.attackers} of them {settings.attack} attackers"
    split = "IID labels" if settings.alpha is None else f"Dirichlet {settings.alpha:g} labels"
    if settings.has_other_split:
        split = f"{settings.split} split"
    parts = (
        _count(settings.devices, "device") + (attackers if settings.attackers else ""),
        split,
        f"{settings.model}, personal: {settings.personal}",
        _count(settings.rounds, "round"),
    )
    title = element("h1", {}, settings.method, element("span", {}, f" on {settings.dataset}"))
    stopped = None
    if len(record.rounds) < settings.rounds:
        done = f"{len(record.rounds)} of {settings.rounds}"
        stopped = element(
            "p",
            {"class": "alert", "role": "note"},
            element("strong", {}, "The run stopped early. "),
            f"{done} rounds were completed; the numbers below are what there is.",
        )
    lede = element("p", {"class": "lede"}, " \N{MIDDLE DOT} ".join(parts))
    return [element("header", {}, title, lede, stopped)]


def _tiles(record: RunRecord) -> Element:
    tiles = []
    for moment in Moment:
        final = final_accuracy(record, moment)
        spread = final.spread
        about = f"{moment.value} accuracy"
        if spread is None:
            tiles.append(_tile(about, MISSING, final.when, moment.value))
            continue
        deviation = f"\N{PLUS-MINUS SIGN} {percent_text(spread.std)} over "
        below = (
            f"{deviation if spread.devices > 1 else ''}"
            f"{_count(spread.devices, 'benign device')}, {final.when}"
        )
        tiles.append(_tile(about, percent_text(spread.mean), below, moment.value))
    rejected = sum(record.rejected.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(record.rejected.items()))
    below = f"{rejected} rejected" + (f": {reasons}" if reasons else "")
    tiles.append(_tile("updates accepted", str(record.accepted), below))
    devices = bytes_text(record.downlink_bytes)
    tiles.append(_tile("uploaded", bytes_text(record.uplink_bytes), f"{devices} downloaded"))
    per_round = sum(row.duration_s for row in record.rounds) / max(1, len(record.rounds))
    below = f"{duration_text(per_round)} per round" if record.rounds else "no round was closed"
    tiles.append(_tile("time", duration_text(record.wall_s), below))
    return element("dl", {"class": "tiles"}, *tiles)


def _tile(name: str, value: str, below: str, kind: str = "") -> Element:
    small = element("small", {}, below)
    return element(
        "div",
        {"class": f"tile {kind}".strip()},
        element("dt", {}, name),
        element("dd", {}, value, small),
    )


def _accuracy(record: RunRecord) -> list[Child]:
    legend = element(
        "p",
        {"class": "legend"},
        *(element("span", {}, _key(moment), f"{moment.value}, mean") for moment in Moment),
        element("span", {}, "shaded: \N{PLUS-MINUS SIGN} one standard deviation"),
        element("span", {}, "dotted: the worst device"),
    )
    about = (
        "Personalised accuracy: the accuracy on each label, weighted by that label's share of the "
        "device's own data. \N{LEFT DOUBLE QUOTATION MARK}Received\N{RIGHT DOUBLE QUOTATION MARK} "
        "is measured when the new shared weights arrive, before any training on them; "
        "\N{LEFT DOUBLE QUOTATION MARK}local\N{RIGHT DOUBLE QUOTATION MARK} after it. Benign "
        "devices only."
    )
    charts = (accuracy_chart(record, _WIDE, "wide"), accuracy_chart(record, _NARROW, "narrow"))
    figure = element("figure", {"class": "card"}, legend, *charts)
    return [_heading("Accuracy per round"), element("p", {"class": "about"}, about), figure]


def _key(moment: Moment) -> Element:
    """A piece of the series' line with its marker."""
    line = {"class": f"mean {moment.value}", "x1": 1, "x2": 25, "y1": 6, "y2": 6}
    if moment is Moment.LOCAL:
        mark = element("circle", {"class": "mark local", "cx": 13, "cy": 6, "r": 3.6})
    else:
        place = {"class": "mark received", "x": 9.6, "y": 2.6, "width": 6.8, "height": 6.8}
        mark = element("rect", place)
    drawing = {"class": "key", "viewBox": "0 0 26 12", "aria-hidden": "true"}
    return element("svg", drawing, element("line", line), mark)


def _devices(record: RunRecord) -> list[Child]:
    times = {final_accuracy(record, moment).when for moment in Moment}
    about = element(
        "p",
        {"class": "about"},
        f"Each device's label mix, and its accuracy ({', '.join(sorted(times))}). The stronger the "
        "shade, the larger the label's share: ",
        mix_scale(),
        " Attackers train as everybody does and tamper with what they upload; no mean counts them."
        if record.settings.attackers
        else None,
    )
    # Focusable, so that the keyboard can scroll it too.
    frame = {
        "class": "card scroll",
        "tabindex": "0",
        "role": "region",
        "aria-label": "Devices and their labels",
    }
    return [_heading("Devices"), about, element("div", frame, device_table(record))]


def _rounds(record: RunRecord) -> list[Child]:
    if not record.rounds:
        return []
    frame = {"class": "card scroll", "tabindex": "0", "role": "region", "aria-label": "Rounds"}
    return [_heading("Rounds"), element("div", frame, round_table(record))]


def _alpha_or_split(settings: RunSettings) -> tuple[str, str]:
    if settings.has_other_split:
        return ("split", settings.split)
    return ("alpha", "IID" if settings.alpha is None else f"{settings.alpha:g}")


def _settings(record: RunRecord) -> list[Child]:
    settings = record.settings
    facts = (
        ("method", settings.method),
        ("model", settings.model),
        ("personal", settings.personal),
        ("dataset", settings.dataset),
        *((("data from", settings.dataset_source),) if settings.dataset_source else ()),
        _alpha_or_split(settings),
        ("devices", str(settings.devices)),
        ("attackers", str(settings.attackers)),
        ("attack", settings.attack or MISSING),
        ("rounds", str(settings.rounds)),
        ("seed", str(settings.seed)),
        ("runtime", settings.runtime),
        ("broker", settings.broker),
        ("faults", _faults_text(record)),
        *settings.details,
        *((("started", settings.started_at),) if settings.started_at else ()),
    )
    rows = [
        element("div", {}, element("dt", {}, name), element("dd", {}, value))
        for name, value in facts
    ]
    return [_heading("Settings"), element("dl", {"class": "facts"}, *rows)]


def _faults_text(record: RunRecord) -> str:
    injected = ", ".join(f"{count} {kind}" for kind, count in record.faults.items())
    return f"{record.settings.faults}: {injected}" if injected else record.settings.faults


def _notes(record: RunRecord) -> list[Child]:
    if not record.notes:
        return []
    return [_heading("Notes"), element("ul", {}, *(element("li", {}, n) for n in record.notes))]


def _command(record: RunRecord) -> list[Child]:
    code = element("pre", {"class": "card"}, element("code", {}, record.settings.command))
    return [_heading("The command that makes it again"), code]


def _heading(text: str) -> Element:
    return element("h2", {}, text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
