"""A table of rows that somebody else has made."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .markup import Element, element

__all__ = ["MOST_ROWS", "plain_table"]

MOST_ROWS = 200
"""More rows are left to the CSV files: a browser has to lay them all out."""


def plain_table(
    kind: str, titles: Sequence[str], rows: Sequence[Element], *, numbers: Collection[str]
) -> Element:
    """A table of the class `kind`; the columns in `numbers` have their titles on the right."""
    heads = [
        element("th", {"scope": "col", "class": "number" if title in numbers else "text"}, title)
        for title in titles
    ]
    head = element("thead", {}, element("tr", {}, *heads))
    return element("table", {"class": kind}, head, element("tbody", {}, *rows))
