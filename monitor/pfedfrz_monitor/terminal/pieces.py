"""Text with a meaning instead of a colour: what is drawn, before it is known on what.

No piece is ever read as markup, so that whatever a device calls itself is only text.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

__all__ = ["Line", "Piece", "Tone", "fit", "meter", "sparkline", "width_of"]

_LEVELS = "▁▂▃▄▅▆▇█"
_REJECTED = "\N{MULTIPLICATION SIGN}"


class Tone(str, enum.Enum):
    """What a piece of text says by its looks."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    ALARM = "alarm"
    """Stands out of a whole screen."""
    WORK = "work"
    """Under way."""
    RECEIVED = "received"
    """The curve of the received model."""
    LOCAL = "local"
    """The curve of the locally trained one."""


Piece = tuple[str, Tone]
Line = list[Piece]


def width_of(line: Iterable[Piece]) -> int:
    """How many cells of a terminal it takes."""
    return sum(cell_len(text) for text, _ in line)


def fit(line: Sequence[Piece], width: int, *, right: bool = False) -> Line:
    """The line in exactly `width` cells: filled with spaces, or cut with an ellipsis."""
    wide = width_of(line)
    if wide <= width:
        blank: Piece = (" " * (width - wide), Tone.PLAIN)
        return [blank, *line] if right else [*line, blank]
    if width <= 0:
        return []
    kept: Line = []
    left = width - 1
    for text, tone in line:
        taken = cell_len(text)
        if taken <= left:
            kept.append((text, tone))
            left -= taken
            continue
        kept.append((set_cell_size(text, left) + "…", tone))
        return kept
    return kept


def sparkline(values: Sequence[float | str | None], width: int, tone: Tone = Tone.LOCAL) -> Line:
    """The last `width` values, each a share of one; None is a gap, and text a refusal."""
    drawn: Line = []
    for value in values[-width:] if width > 0 else ():
        if value is None:
            drawn.append((" ", tone))
        elif isinstance(value, str):
            drawn.append((_REJECTED, Tone.BAD))
        else:
            level = min(len(_LEVELS) - 1, max(0, int(value * len(_LEVELS))))
            drawn.append((_LEVELS[level], tone))
    return drawn


def meter(parts: Sequence[tuple[float, Tone]], width: int) -> Line:
    """A bar of parts, each a share of one; what is left is dim."""
    drawn: Line = []
    done, begun = 0.0, 0
    for part, tone in parts:
        done += part
        end = min(width, round(done * width))
        if part > 0 and end == begun < width and done < 1:
            end += 1  # whatever there is can be seen
        if end > begun:
            drawn.append(("━" * (end - begun), tone))
            begun = end
    if begun < width:
        drawn.append(("─" * (width - begun), Tone.DIM))
    return drawn
