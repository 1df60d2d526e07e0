"""report.html: one file that stands alone, without a script and without a request to anywhere."""

from __future__ import annotations

from .document import document, footer
from .fleet_sections import (
    devices_section,
    map_section,
    refusals_section,
    steps_section,
    work_section,
)
from .frame import ChartSize
from .line_chart import accuracy_chart
from .markup import Child, Element, element
from .quantities import MISSING, bytes_text, duration_text, percent_text
from .records import Moment, RunRecord, RunSettings, RunState
from .round_table import round_table
from .sections import heading, region
from .spread import final_accuracy

__all__ = ["encode_page"]

_WIDE = ChartSize(980, 340, right=128)
_NARROW = ChartSize(346, 250, right=16)
_MOST_NOTES = 100
_SHOWN = ("pfedfrz", "python", "machine")
"""What of the environment the page tells; run.json and summary.json have all."""


def encode_page(record: RunRecord) -> bytes:
    """The report of a run as one HTML document."""
    body = element(
        "main",
        {},
        *_header(record),
        _tiles(record),
        *_accuracy(record),
        *map_section(record),
        *steps_section(record),
        *refusals_section(record),
        *devices_section(record),
        *work_section(record),
        *_rounds(record),
        *_settings(record),
        *_notes(record),
        *_command(record),
        footer("summary.json, rounds.csv, devices.csv"),
    )
    return document(f"{record.name}: report", body)


def _header(record: RunRecord) -> list[Child]:
    settings = record.settings
    attackers = f", {settings.attackers} of them {settings.attack} attackers"
    parts = (
        _count(settings.devices, "device") + (attackers if settings.attackers else ""),
        *_labels(settings),
        *((f"{settings.model}, personal: {settings.personal}",) if settings.model else ()),
        _count(settings.rounds or len(record.rounds), "round"),
    )
    of = settings.dataset or settings.federation
    joined = f" on {of}" if settings.dataset else f" {of}"
    title = element("h1", {}, settings.method or "federation", element("span", {}, joined))
    stopped = None
    if record.state is RunState.RUNNING or record.is_short:
        goes_on = record.state is RunState.RUNNING
        done = f"{len(record.rounds)} of {settings.rounds}" if record.is_short else "All"
        stopped = element(
            "p",
            {"class": "alert", "role": "note"},
            element("strong", {}, "The run goes on. " if goes_on else "The run stopped early. "),
            f"{done} rounds were completed; the numbers below are what there is.",
        )
    lede = element("p", {"class": "lede"}, " \N{MIDDLE DOT} ".join(parts))
    return [element("header", {}, title, lede, stopped)]


def _labels(settings: RunSettings) -> tuple[str, ...]:
    """How labels are dealt out; nothing where nobody knows."""
    if settings.has_other_split:
        return (f"{settings.split} split",)
    if settings.alpha is not None:
        return (f"Dirichlet {settings.alpha:g} labels",)
    return ("IID labels",) if settings.dataset is not None else ()


def _tiles(record: RunRecord) -> Element:
    tiles = []
    noun = "benign device" if record.knows_attackers else "device"
    for moment in Moment:
        final = final_accuracy(record, moment)
        spread = final.spread
        about = f"{moment.value} accuracy"
        if spread is None:
            tiles.append(_tile(about, MISSING, final.when, moment.value))
            continue
        deviation = f"\N{PLUS-MINUS SIGN} {percent_text(spread.std)} over "
        below = (
            f"{deviation if spread.devices > 1 else ''}{_count(spread.devices, noun)}, {final.when}"
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
    trained_s = sum(row.train_s for row in record.rounds)
    if trained_s:
        below += f", {duration_text(trained_s)} of training on all devices"
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
    whose = "Benign devices only." if record.knows_attackers else "All devices that reported."
    about = (
        "Personalised accuracy: the accuracy on each label, weighted by that label's share of the "
        "device's own data. \N{LEFT DOUBLE QUOTATION MARK}Received\N{RIGHT DOUBLE QUOTATION MARK} "
        "is measured when the new shared weights arrive, before any training on them; "
        "\N{LEFT DOUBLE QUOTATION MARK}local\N{RIGHT DOUBLE QUOTATION MARK} after it. "
        f"{whose}"
    )
    charts = (accuracy_chart(record, _WIDE, "wide"), accuracy_chart(record, _NARROW, "narrow"))
    figure = element("figure", {"class": "card"}, legend, *charts)
    return [heading("Accuracy per round"), element("p", {"class": "about"}, about), figure]


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


def _rounds(record: RunRecord) -> list[Child]:
    if not record.rounds:
        return []
    return [heading("Rounds"), region("Rounds", round_table(record))]


def _alpha_or_split(settings: RunSettings) -> tuple[str, str | None]:
    if settings.has_other_split:
        return ("split", settings.split)
    if settings.dataset is None:
        return ("alpha", None)
    return ("alpha", "IID" if settings.alpha is None else f"{settings.alpha:g}")


def _settings(record: RunRecord) -> list[Child]:
    settings = record.settings
    facts: tuple[tuple[str, str | None], ...] = (
        *((("federation", settings.federation),) if settings.federation else ()),
        ("method", settings.method),
        ("model", settings.model),
        ("personal", settings.personal),
        ("dataset", settings.dataset),
        *((("data from", settings.dataset_source),) if settings.dataset_source else ()),
        _alpha_or_split(settings),
        ("devices", str(settings.devices)),
        ("attackers", _known(settings.attackers)),
        ("attack", (settings.attack or MISSING) if record.knows_attackers else None),
        ("rounds", _known(settings.rounds)),
        ("seed", _known(settings.seed)),
        ("runtime", settings.runtime),
        ("broker", settings.broker),
        ("faults", _faults_text(record)),
        *settings.details,
        *((("started", settings.started_at),) if settings.started_at else ()),
        *((name, version) for name, version in record.environment.items() if name in _SHOWN),
    )
    rows = [
        element("div", {}, element("dt", {}, name), element("dd", {}, value))
        for name, value in facts
        if value is not None
    ]
    return [heading("Settings"), element("dl", {"class": "facts"}, *rows)]


def _known(number: int | None) -> str | None:
    return None if number is None else str(number)


def _faults_text(record: RunRecord) -> str | None:
    injected = ", ".join(f"{count} {kind}" for kind, count in record.faults.items())
    planned = record.settings.faults
    return f"{planned}: {injected}" if injected else planned


def _notes(record: RunRecord) -> list[Child]:
    if not record.notes:
        return []
    shown = list(record.notes[:_MOST_NOTES])
    if len(record.notes) > _MOST_NOTES:
        shown.append(f"and {len(record.notes) - _MOST_NOTES} more, in summary.json")
    return [heading("Notes"), element("ul", {}, *(element("li", {}, n) for n in shown))]


def _command(record: RunRecord) -> list[Child]:
    if not record.settings.command:
        return []
    code = element("pre", {"class": "card"}, element("code", {}, record.settings.command))
    return [heading("The command that makes it again"), code]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
