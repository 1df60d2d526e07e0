"""The screen: what the watch knows, drawn at most four times a second.

The view is read under its lock and only for what is in sight; whatever is long (waiting for an
answer, drawing) happens after the lock was given back. Texts of others are drawn as text, never as
markup.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from pfedfrz_protocol import OperatorAnswer

from ..concerns import concern
from ..readable import count
from ..view import FederationView
from ..watch import Watch
from .curves import draw_curves
from .device_rows import (
    DEVICE_COLUMNS,
    ROUNDS_BACK,
    DeviceRow,
    Order,
    device_row,
    draw_device,
    ordered,
)
from .dialogs import Confirmation, Help
from .key_bar import key_bar
from .log_rows import LOG_COLUMNS, LogRow, draw_log, log_rows
from .looks import DARK, LIGHT, SCREEN_CSS, THEMES, fitting_theme
from .painted import Painted
from .pieces import Line, Tone
from .requests import Impossible, Proposal, propose
from .round_rows import ROUND_COLUMNS, RoundRow, draw_round, round_rows
from .row_table import RowTable
from .summary import Rate, Summary, head_lines, summarize

__all__ = ["MonitorApp", "run_terminal"]

_REDRAW_S = 0.25
_MANY = 1000
_SORT_MANY_EVERY_S = 1.0
_LOG_MOST = 500
_NARROW, _SHORT = 40, 12
_BOTH_FROM = 110
_ROOM_FOR_FILTER = 1
_LEAST_BELOW, _LEAST_DEVICES = 6, 4
_CURVES, _LEAST_ROUNDS = 8, 7
_VIEWS = ("rounds", "log", "none")
_ONLY_WATCHING = (
    "this monitor only watches: an operator's --config has operator and operator_key_file"
)
_ONLY_A_REPLAY = "this is a replay: nothing can be changed in what has been"


@dataclass
class _Asked:
    title: str
    answer: Future[OperatorAnswer]


class MonitorApp(App[None]):
    """The monitor in a terminal."""

    TITLE = "pfedfrz monitor"
    CSS = SCREEN_CSS
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("p", "ask('pause')", show=False),
        Binding("a", "ask('accept')", show=False),
        Binding("x", "ask('quarantine')", show=False),
        Binding("m", "ask('readmit')", show=False),
        Binding("X", "ask('revoke')", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "backwards", show=False),
        Binding("slash", "filter", show=False),
        Binding("escape", "clear_filter", show=False),
        Binding("v", "view", show=False),
        Binding("t", "theme", show=False),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(self, watch: Watch, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._watch = watch
        self._labels = labels
        self._rate = Rate()
        self._names: list[str] = []
        self._places: dict[str, int] = {}
        self._chosen: str | None = None
        self._order = Order.NAME
        self._is_backwards = False
        self._wanted = ""
        self._view = "rounds"
        self._seen_revision = -1
        self._sorted_s = 0.0
        self._must_sort = True
        self._rounds: list[RoundRow] = []
        self._entries: list[LogRow] = []
        self._summary = Summary("")
        self._asked: list[_Asked] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colours, for themes that do not know them."""
        return dict(DARK.variables)

    def compose(self) -> ComposeResult:
        """Everything that is on the screen."""
        yield Static(id="too-small")
        with Vertical(classes="whole"):
            yield Painted(id="head")
            yield RowTable[DeviceRow](
                DEVICE_COLUMNS, self._load_devices, draw_device, empty="no device yet", id="devices"
            )
            yield Input(id="filter", compact=True)
            yield Painted(id="detail")
            with Horizontal(id="below"):
                with Vertical(id="history"):
                    yield Painted(id="curves")
                    yield RowTable[RoundRow](
                        ROUND_COLUMNS,
                        lambda first, last: self._rounds[first:last],
                        draw_round,
                        empty="no round has closed yet",
                        id="rounds",
                    )
                yield RowTable[LogRow](
                    LOG_COLUMNS,
                    lambda first, last: self._entries[first:last],
                    draw_log,
                    empty="nothing has happened yet",
                    id="log",
                )
            yield Painted(id="keys")

    def on_mount(self) -> None:
        """Begin to draw."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = fitting_theme(os.environ).name
        for name, title in (("devices", "devices"), ("rounds", "rounds"), ("log", "log")):
            table = self.query_one(f"#{name}", RowTable)
            table.add_class("panel")
            table.border_title = title
        self.query_one("#filter", Input).placeholder = "name, label or state"
        self._end_with_terminal()
        self._lay_out()
        self.query_one("#devices").focus()
        self.set_interval(_REDRAW_S, self.look)
        self.look()

    def _end_with_terminal(self) -> None:
        # A connection that is cut ends the process as it should end; in a test there is no loop
        # of the main thread to tell.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.exit)

    # Drawing

    def look(self) -> None:
        """Take what is new, and draw what it changes."""
        if not self._is_there:
            return
        self._hear_answers()
        now, health = time.time(), self._watch.health
        with self._watch.reading() as view:
            federation = view.topics.federation
            is_new = view.revision != self._seen_revision
            self._seen_revision = view.revision
            if is_new or self._summary.left_s is not None:
                self._summary = summarize(view)
            if self._must_sort or (is_new and self._is_time_to_sort(len(view.devices))):
                self._sort(view)
            if is_new:
                self._rounds = round_rows(view)
                self._entries = log_rows(view, _LOG_MOST)
        rate = self._rate.note(
            time.monotonic(), health.traffic.received_messages, health.traffic.received_bytes
        )
        head = head_lines(
            self._summary, health, rate, concern(health, federation, now), self.size.width
        )
        self.query_one("#head", Painted).paint(head)
        if is_new:
            self._show_tables()
        self._show_keys()

    def _is_time_to_sort(self, devices: int) -> bool:
        return devices < _MANY or time.monotonic() >= self._sorted_s + _SORT_MANY_EVERY_S

    def _sort(self, view: FederationView) -> None:
        of_all = len(view.devices)
        is_by_name_alone = self._order is Order.NAME and not self._wanted
        if not self._must_sort and is_by_name_alone and len(self._names) == of_all:
            return
        self._names = ordered(
            view, self._labels, self._order, backwards=self._is_backwards, wanted=self._wanted
        )
        self._must_sort = False
        self._sorted_s = time.monotonic()
        self._places = {name: place for place, name in enumerate(self._names)}
        if self._chosen not in self._places:
            self._chosen = self._names[0] if self._names else None
        title = count(of_all, "device")
        if self._wanted:
            title = f"{len(self._names):,} of {title} with {self._wanted!r}"
        self._share_height(self.size.height)
        table = self.query_one("#devices", RowTable)
        table.border_title = Content(title)
        backwards = ", backwards" if self._is_backwards else ""
        table.border_subtitle = Content(f"by {self._order.value}{backwards}")

    def _show_tables(self) -> None:
        devices = self.query_one("#devices", RowTable)
        devices.show(len(self._names), self._places.get(self._chosen or "", 0))
        for name, rows in (("#rounds", len(self._rounds)), ("#log", len(self._entries))):
            table = self.query_one(name, RowTable)
            table.show(rows, table.cursor)
        self._show_curves()
        self._show_detail()

    def _show_curves(self) -> None:
        """Over the rounds, where there is room for both."""
        below = self.query_one("#below").size
        curves = self.query_one("#curves", Painted)
        lines: list[Line] = []
        if below.height >= _CURVES + _LEAST_ROUNDS and len(self._rounds) > 1:
            rounds = self._rounds[::-1]
            received, local = [r.received for r in rounds], [r.local for r in rounds]
            wide = self.query_one("#history").size.width - 2
            lines = [[(" ", Tone.PLAIN), *line] for line in draw_curves(
                received, local, wide, _CURVES - 1
            )]  # fmt: skip
            title: Line = [(" received", Tone.RECEIVED), (" and ", Tone.DIM), ("local", Tone.LOCAL)]
            lines = [[*title, (" accuracy by round", Tone.DIM)], *lines]
        curves.display = bool(lines)
        curves.paint(lines)

    def _load_devices(self, first: int, last: int) -> list[DeviceRow]:
        with self._watch.reading() as view:
            rounds = list(view.rounds.values())[-ROUNDS_BACK:]
            return [
                device_row(view, name, self._labels, rounds)
                for name in self._names[first:last]
                if name in view.devices
            ]

    def _show_detail(self) -> None:
        log = self.query_one("#log", RowTable)
        line: Line = []
        if log.has_focus and self._entries:
            entry = self._entries[min(log.cursor, len(self._entries) - 1)]
            line = [(f" {entry.device} ".lstrip(), Tone.STRONG), (entry.text, Tone.PLAIN)]
        elif self._chosen is not None:
            place = self._places.get(self._chosen, 0)
            for row in self._load_devices(place, place + 1):
                name = f"{row.name} {row.label}".rstrip()
                line = [(f"{name}: ", Tone.STRONG), (row.detail, Tone.DIM)]
        self.query_one("#detail", Painted).paint([[(" ", Tone.PLAIN), *line]])

    def _show_keys(self) -> None:
        why_not = "no operator key" if self._watch.health.speed is None else "a replay"
        bar = key_bar(self._summary, self.size.width, may_act=self._watch.may_act, why_not=why_not)
        self.query_one("#keys", Painted).paint([bar])

    def _lay_out(self) -> None:
        width, height = self.size
        self.screen.set_class(width < _NARROW or height < _SHORT, "-too-small")
        self.query_one("#too-small", Static).update(
            Content(f"too small: {width}x{height}, needs {_NARROW}x{_SHORT}")
        )
        self._share_height(height)
        below = self.query_one("#below")
        shows_both = width >= _BOTH_FROM and self._view != "none"
        below.set_class(self._view == "none", "none")
        below.set_class(shows_both, "both")
        self.query_one("#history").set_class(not shows_both and self._view != "rounds", "hidden")
        self.query_one("#log").set_class(not shows_both and self._view != "log", "hidden")

    def _share_height(self, height: int) -> None:
        """As much for the devices as there are, if enough is left for what is below."""
        around = 2 + len(self.query_one("#head", Painted).lines) + _ROOM_FOR_FILTER
        below = 0 if self._view == "none" else max(_LEAST_BELOW, height * 3 // 10)
        most = max(_LEAST_DEVICES, height - around - below)
        wanted = max(_LEAST_DEVICES, len(self._names) + 2)
        self.query_one("#devices").styles.height = "1fr" if not below else min(wanted, most)

    def on_resize(self, event: events.Resize) -> None:
        """Another size, another layout."""
        self.call_after_refresh(self._resized)

    @property
    def _is_there(self) -> bool:
        """False before the screen is made, and while it is taken down: timers still run then."""
        return bool(self.query("#keys"))

    def _resized(self) -> None:
        if not self._is_there:
            return
        self._lay_out()
        self._seen_revision = -1
        self.look()

    def on_row_table_moved(self, moved: RowTable.Moved) -> None:
        """Another device is chosen, or another line."""
        if moved.table == "devices" and moved.index < len(self._names):
            self._chosen = self._names[moved.index]
        self._show_detail()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """What is told below the table is about what has the focus."""
        if self._is_there:
            self._show_detail()

    # Keys

    def action_sort(self) -> None:
        """Sort by the next thing."""
        self._order = self._order.following
        self._again()

    def action_backwards(self) -> None:
        """Sort the other way round."""
        self._is_backwards = not self._is_backwards
        self._again()

    def _again(self) -> None:
        self._must_sort = True
        self._seen_revision = -1
        self.look()

    def action_filter(self) -> None:
        """Look for devices."""
        field = self.query_one("#filter", Input)
        field.add_class("open")
        field.focus()

    def action_clear_filter(self) -> None:
        """Show all devices again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.remove_class("open")
        self.query_one("#devices").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show those that fit."""
        if event.input.id == "filter" and event.value != self._wanted:
            self._wanted = event.value
            self._again()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The filter stays; the keys go to the table again."""
        if event.input.id == "filter":
            event.input.set_class(bool(event.value), "open")
            self.query_one("#devices").focus()

    def action_view(self) -> None:
        """Show something else below."""
        self._view = _VIEWS[(_VIEWS.index(self._view) + 1) % len(_VIEWS)]
        self._lay_out()
        self.call_after_refresh(self._resized)

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help())

    # Asking

    def action_ask(self, what: str) -> None:
        """Ask the coordinator for something, after a question."""
        if not self._watch.may_act:
            is_live = self._watch.health.speed is None
            self._tell(_ONLY_WATCHING if is_live else _ONLY_A_REPLAY, "warning")
            return
        with self._watch.reading() as view:
            proposal = propose(view, what, self._chosen)
        if isinstance(proposal, Impossible):
            self._tell(proposal.why, "warning")
            return
        self.push_screen(Confirmation(proposal), lambda yes: self._answered(proposal, yes))

    def _answered(self, proposal: Proposal, yes: bool | None) -> None:
        if yes:
            self._asked.append(_Asked(proposal.title, self._watch.ask(proposal.action)))

    def _hear_answers(self) -> None:
        for asked in [one for one in self._asked if one.answer.done()]:
            self._asked.remove(asked)
            answer = asked.answer.result()
            if answer.done:
                self._tell(answer.detail, "information")
            else:
                self._tell(f"not done: {answer.detail}", "error")

    def _tell(self, text: str, severity: str) -> None:
        kind = "information" if severity == "information" else severity
        self.notify(text, severity=kind, markup=False, timeout=8.0)  # type: ignore[arg-type]


def run_terminal(watch: Watch, labels: Mapping[str, str]) -> None:
    """Show the screen until somebody leaves it; the watch has been started, and is left running."""
    MonitorApp(watch, labels).run()
