"""Columns of text for a terminal, and curves in a line."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from pfedfrz_protocol.one_line import one_line

__all__ = ["aligned", "spark_line"]

_BARS = "▁▂▃▄▅▆▇█"
_MOST_CELL = 200


def aligned(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()
) -> list[str]:
    """The lines of a table; columns in `right` stand to the right. Cells may hold anything: what
    would act on a terminal is made harmless.
    """
    # A space that does not break is one to a terminal, and would be made harmless otherwise.
    cells = [
        [one_line(cell.replace("\N{NO-BREAK SPACE}", " "), _MOST_CELL) for cell in row]
        for row in (titles, *rows)
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    return [
        "  ".join(
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def spark_line(values: Sequence[float | None], low: float, high: float, *, most: int = 40) -> str:
    """The values as bars between `low` and `high`, every few where there are more than `most`; a
    dot where nothing was measured.
    """
    each = max(1, math.ceil(len(values) / most))
    shown = [values[min(start + each, len(values)) - 1] for start in range(0, len(values), each)]
    return "".join(_bar(value, low, high) for value in shown)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None or not math.isfinite(value):
        return "\N{MIDDLE DOT}"
    share = (value - low) / (high - low) if high > low else 1.0
    return _BARS[max(0, min(len(_BARS) - 1, int(share * len(_BARS))))]
