"""report.html of a study: one file that stands alone, for wide screens, phones, light and dark."""

from __future__ import annotations

from pfedfrz_monitor.report.document import document, footer
from pfedfrz_monitor.report.markup import Child, Element, element

from .charts import ChartGroup
from .drawing import draw_chart, draw_key
from .outline import Alert, Bullets, Cell, Command, Outline, Paragraph, Part, Section, Table
from .statistics import Verdict
from .style import STUDY_STYLE

__all__ = ["encode_page"]

_SEEN_WHOLE = 40
"""Rows of a table that has no height of its own to scroll in."""
_LONG = 30
"""A column with a longer cell than this is broken into lines."""

_CLASSES = {Verdict.HOLDS: "holds", Verdict.UNDECIDED: "undecided", Verdict.FAILS: "fails"}


def encode_page(outline: Outline) -> bytes:
    """The report as one HTML document."""
    body = element(
        "main",
        {},
        element(
            "header",
            {},
            element("h1", {}, outline.title),
            element("p", {"class": "lede"}, outline.about),
            *(_part(alert) for alert in outline.alerts),
        ),
        *(child for section in outline.sections for child in _section(section)),
        footer("cells.csv, curves.csv, claims.csv"),
    )
    return document(outline.title, body, STUDY_STYLE)


def _section(section: Section) -> list[Child]:
    parts = [_part(part) for part in section.parts]
    if not section.folded:
        return [element("h2", {}, section.title), *parts]
    summary = element("summary", {}, element("h2", {}, section.title))
    return [element("details", {}, summary, *parts)]


def _part(part: Part) -> Element | None:
    if isinstance(part, Paragraph):
        return element("p", {}, part.text)
    if isinstance(part, Alert):
        return element("p", {"class": "alert", "role": "note"}, element("strong", {}, part.text))
    if isinstance(part, Bullets):
        return element("ul", {}, *(element("li", {}, item) for item in part.items))
    if isinstance(part, Command):
        return element("pre", {"class": "card"}, element("code", {}, part.text))
    if isinstance(part, ChartGroup):
        return _charts(part)
    return _table(part) if part.rows else None


def _charts(group: ChartGroup) -> Element:
    keys = (element("span", {}, draw_key(look), label) for label, look in group.looks.items())
    figures = (
        element("figure", {}, element("figcaption", {}, chart.title), draw_chart(chart))
        for chart in group.charts
    )
    return element(
        "section",
        {},
        element("h3", {}, group.title),
        element("p", {"class": "about"}, group.about),
        element(
            "div",
            {"class": "card"},
            element("p", {"class": "legend"}, *keys),
            element("div", {"class": "charts"}, *figures),
        ),
    )


def _table(table: Table) -> Element:
    head = element(
        "thead",
        {},
        element(
            "tr",
            {},
            *(
                element("th", {"class": "name"} if place == 0 else {"scope": "col"}, column)
                for place, column in enumerate(table.columns)
            ),
        ),
    )
    columns = list(zip(*table.rows, strict=True))[1:]
    wide = [any(len(cell.text) > _LONG for cell in column) for column in columns]
    rows = (
        element(
            "tr",
            {},
            element("th", {"scope": "row", "class": "name"}, row[0].text),
            *(_cell(cell, long) for cell, long in zip(row[1:], wide, strict=True)),
        )
        for row in table.rows
    )
    body = element("table", {"class": "results"}, head, element("tbody", {}, *rows))
    # Focusable, so that the keyboard can scroll it too.
    whole = " whole" if len(table.rows) <= _SEEN_WHOLE else ""
    frame = {"class": f"card scroll{whole}", "tabindex": "0", "role": "region"}
    frame["aria-label"] = table.title or ", ".join(filter(None, table.columns))
    caption = element("h3", {}, table.title) if table.title else None
    return element("section", {}, caption, element("div", frame, body))


def _cell(cell: Cell, long: bool) -> Element:
    if cell.verdict is None:
        return element("td", {"class": "long" if long else "plain"}, cell.text)
    word = element("small", {}, cell.verdict.value)
    return element("td", {"class": _CLASSES[cell.verdict]}, cell.text, word)
