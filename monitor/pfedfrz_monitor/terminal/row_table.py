"""A table of which only the rows that can be seen exist, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .painted import TONE_CLASSES, Painter
from .pieces import Line, Piece, Tone, fit

__all__ = ["Column", "RowTable", "lay_out"]

_GAP = 2
Row = TypeVar("Row")


@dataclass(frozen=True)
class Column:
    """One column."""

    key: str
    title: str
    width: int
    rank: int
    """0 stays whatever happens; the highest goes first when it gets narrow."""
    right: bool = False
    grows: int = 0
    """So much wider it may become."""


def lay_out(columns: Sequence[Column], room: int) -> list[tuple[Column, int]]:
    """The columns that fit into `room` cells, in their order, with their widths."""
    chosen: list[Column] = []
    left = room
    for column in sorted(columns, key=lambda column: column.rank):
        need = column.width + (_GAP if chosen else 0)
        if need > left and chosen:
            break
        chosen.append(column)
        left -= need
    widths = {column.key: min(column.width, room) for column in chosen}
    for column in sorted(chosen, key=lambda column: column.rank):
        more = max(0, min(column.grows, left))
        widths[column.key] += more
        left -= more
    return [(column, widths[column.key]) for column in columns if column in chosen]


class RowTable(ScrollView, Generic[Row], can_focus=True):
    """Rows are asked for by number when they come into sight; what did not change is not drawn."""

    COMPONENT_CLASSES: ClassVar[set[str]] = TONE_CLASSES | {"table--head", "table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]
    DEFAULT_CSS = """
    RowTable {
        scrollbar-size: 1 1; overflow-x: hidden;
        scrollbar-color: $surface-lighten-1; scrollbar-background: $background;
    }
    """

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: str | None, index: int) -> None:
            super().__init__()
            self.table = table
            """Its id."""
            self.index = index

    def __init__(
        self,
        columns: Sequence[Column],
        load: Callable[[int, int], list[Row]],
        draw: Callable[[Row, str, int], Line],
        *,
        empty: str,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._load = load
        self._draw = draw
        self._empty = empty
        self._count = 0
        self._first = 0
        self._rows: list[Row] = []
        """Those in sight, from number `_first`."""
        self.cursor = 0
        self._painter = Painter(self)

    @property
    def rows_in_sight(self) -> list[Row]:
        """What is shown now."""
        return list(self._rows)

    def show(self, count: int, cursor: int) -> None:
        """Draw what has changed; there are `count` rows now, and the cursor is on that one."""
        resized = count != self._count
        self._count = count
        moved = max(0, min(cursor, count - 1))
        if resized:
            self.virtual_size = Size(self.size.width, count + 1)
        if moved != self.cursor:
            old, self.cursor = self.cursor, moved
            self._redraw(old)
            self._redraw(moved)
            self._bring_into_sight()
        before, first = self._rows, self._first
        self._take()
        if resized or first != self._first or len(before) != len(self._rows):
            self.refresh()
            return
        for place, (old_row, new_row) in enumerate(zip(before, self._rows, strict=True)):
            if old_row != new_row:
                self._redraw(self._first + place)

    def _take(self) -> None:
        first = min(int(self.scroll_offset.y), max(0, self._count - 1))
        last = min(self._count, first + max(0, self.size.height - 1))
        self._first, self._rows = first, self._load(first, last) if last > first else []

    def _redraw(self, index: int) -> None:
        self.refresh_line(index + 1)

    def _bring_into_sight(self) -> None:
        top, page = int(self.scroll_offset.y), max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Rows that come into sight are asked for."""
        super().watch_scroll_y(old_value, new_value)
        self._take()
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """As many rows as fit."""
        self.virtual_size = Size(event.size.width, self._count + 1)
        self._bring_into_sight()
        self._take()
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """A row is chosen."""
        if event.y > 0:
            self._go(int(self.scroll_offset.y) + event.y - 1)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by what is in sight."""
        self._go(self.cursor + by * max(1, self.size.height - 2))

    def _go(self, index: int) -> None:
        index = max(0, min(index, self._count - 1))
        if index != self.cursor and self._count:
            self.show(self._count, index)
            self.post_message(self.Moved(self.id, index))

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        layout = lay_out(self._columns, width - 2)
        if y == 0:
            titles: Line = []
            for column, wide in layout:
                titles += [
                    *fit([(column.title, Tone.DIM)], wide, right=column.right),
                    (" " * _GAP, Tone.DIM),
                ]
            return self._strip(titles, "table--head")
        place = y - 1
        if place >= len(self._rows):
            if place == 0 and not self._count:
                return self._strip([(self._empty, Tone.DIM)])
            return Strip.blank(width, self.rich_style)
        row = self._rows[place]
        cells: Line = []
        for column, wide in layout:
            drawn = self._draw(row, column.key, wide)
            cells += [*fit(drawn, wide, right=column.right), (" " * _GAP, Tone.PLAIN)]
        on_cursor = self._first + place == self.cursor
        return self._strip(cells, "table--cursor" if on_cursor and self.has_focus else None)

    def _strip(self, line: Sequence[Piece], behind: str | None = None) -> Strip:
        segments = self._painter.segments([(" ", Tone.PLAIN), *line], behind)
        ground = self.get_component_rich_style(behind) if behind else self.rich_style
        return Strip([Segment(s.text, s.style) for s in segments]).adjust_cell_length(
            self.size.width, ground
        )
