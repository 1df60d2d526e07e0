"""Pieces on the screen: the tones get their colours from the theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from .pieces import Line, Piece, Tone

__all__ = ["TONE_CLASSES", "TONE_CSS", "Painted", "Painter"]

TONE_CLASSES = {f"tone--{tone.value}" for tone in Tone}
TONE_CSS = """
.tone--plain { color: $foreground; }
.tone--strong { color: $foreground; text-style: bold; }
.tone--dim { color: $dim; }
.tone--good { color: $success; }
.tone--warn { color: $warning; }
.tone--bad { color: $error; }
.tone--alarm { color: $error; text-style: bold reverse; }
.tone--work { color: $primary; }
.tone--received { color: $received; }
.tone--local { color: $local; }
.table--head { background: $surface; text-style: bold; }
.table--cursor { background: $cursor; }
"""


class Painter:
    """Turns pieces into segments for one widget."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget

    def segments(self, line: Sequence[Piece], behind: str | None = None) -> list[Segment]:
        """The line in colour; `behind` is a component class whose background it gets."""
        ground = self._widget.get_component_rich_style(behind) if behind else None
        segments = []
        for text, tone in line:
            style = self._widget.get_component_rich_style(f"tone--{tone.value}")
            if ground is not None and ground.bgcolor is not None and tone is not Tone.ALARM:
                style += Style(bgcolor=ground.bgcolor)
            segments.append(Segment(text, style))
        return segments


class Painted(Widget):
    """A few lines, drawn anew when they change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = TONE_CLASSES
    DEFAULT_CSS = "Painted { height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []
        self._painter = Painter(self)

    def paint(self, lines: list[Line]) -> None:
        """Show these lines."""
        if lines == self.lines:
            return
        is_taller = len(lines) != len(self.lines)
        self.lines = lines
        self.refresh(layout=is_taller)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many as there are lines."""
        return max(1, len(self.lines))

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        if y >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        return Strip(self._painter.segments(self.lines[y])).adjust_cell_length(
            width, self.rich_style
        )
