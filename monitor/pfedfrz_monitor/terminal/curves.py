"""Two curves over the rounds, in dots of which a cell has two by four."""

from __future__ import annotations

from collections.abc import Sequence

from .pieces import Line, Tone

__all__ = ["draw_curves"]

_BRAILLE = 0x2800
# The bits of a cell's dots: left column and right column, from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_SCALE = 5
"""Cells for the scale at the left."""
Values = Sequence[float | None]


def draw_curves(received: Values, local: Values, width: int, height: int) -> list[Line]:
    """The shares of one, oldest first, in `height` lines; where both meet, local is seen."""
    room = width - _SCALE
    if room < 4 or height < 2:
        return []
    grids = {
        Tone.RECEIVED: _dots(received, room, height),
        Tone.LOCAL: _dots(local, room, height),
    }
    lines: list[Line] = []
    for row in range(height):
        told = "100 %" if row == 0 else ("  0 %" if row == height - 1 else "")
        line: Line = [(told.rjust(_SCALE), Tone.DIM)]
        for column in range(room):
            bits = {tone: grid.get((column, row), 0) for tone, grid in grids.items()}
            tone = Tone.LOCAL if bits[Tone.LOCAL] else Tone.RECEIVED
            drawn = bits[Tone.LOCAL] | bits[Tone.RECEIVED]
            text = chr(_BRAILLE + drawn) if drawn else " "
            if line[-1][1] is tone:
                line[-1] = (line[-1][0] + text, tone)
            else:
                line.append((text, tone))
        lines.append(line)
    return lines


def _dots(values: Values, columns: int, rows: int) -> dict[tuple[int, int], int]:
    """The bits of each cell that the curve touches."""
    wide, high = columns * 2 - 1, rows * 4 - 1
    shown = list(values)[-(wide + 1) :]
    # A few rounds fill the width; many are one dot each.
    step = wide / max(1, len(shown) - 1)
    cells: dict[tuple[int, int], int] = {}
    before: tuple[float, float] | None = None
    for number, value in enumerate(shown):
        if value is None:
            before = None
            continue
        here = (number * step, (1.0 - min(1.0, max(0.0, value))) * high)
        for x, y in _line(before or here, here):
            column, row = x // 2, y // 4
            bit = _DOTS[x % 2][y % 4]
            cells[column, row] = cells.get((column, row), 0) | bit
        before = here
    return cells


def _line(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[int, int]]:
    steps = max(1, int(max(abs(end[0] - start[0]), abs(end[1] - start[1]))))
    return [
        (
            round(start[0] + (end[0] - start[0]) * part / steps),
            round(start[1] + (end[1] - start[1]) * part / steps),
        )
        for part in range(steps + 1)
    ]
