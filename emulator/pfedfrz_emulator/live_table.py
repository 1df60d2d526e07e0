"""A run while it runs: a table in a terminal, or one plain line a round anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pfedfrz_monitor import DeviceView, FederationView
from pfedfrz_protocol import Presence, Purpose, RoundMetrics

__all__ = ["LiveTable", "say"]

_OTHER_LINES = 6
"""Headline, table head, the count of devices that do not fit, and room for what scrolls by."""


def say(console: Console, text: str, style: str = "") -> None:
    """Print one line that stays one line, also where it is redirected to a file."""
    console.print(Text(text, style), soft_wrap=True, highlight=False)


class LiveTable:
    """Draws a FederationView; a context manager."""

    def __init__(
        self, view: FederationView, benign: frozenset[str], rounds: int, console: Console
    ) -> None:
        self._view = view
        self._benign = benign
        self._rounds = rounds
        self._console = console
        self._printed: set[int] = set()
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> LiveTable:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def refresh(self) -> None:
        """Draw what is known now; rounds that have closed since are printed to stay."""
        for number, seen in self._view.rounds.items():
            if seen.metrics is not None and number not in self._printed:
                self._printed.add(number)
                say(self._console, self._round_line(number, seen.metrics))
        if self._live:
            self._live.update(Group(self._headline(), self._device_table()))

    def note(self, text: str) -> None:
        """Print one line that stays."""
        say(self._console, f"note: {text}", "yellow")

    def _round_line(self, number: int, metrics: RoundMetrics) -> str:
        received = _percent(self._mean(number, "received"))
        if metrics.purpose is Purpose.EVALUATE:
            local = self._mean(number, "local")
            if local is None:
                return f"last model  received {received}  (measured, not trained)"
            return f"last model  received {received}  local {_percent(local)}  (tuned on a copy)"
        line = (
            f"round {number:>{len(str(self._rounds))}}/{self._rounds}  received {received}  "
            f"local {_percent(self._mean(number, 'local'))}  "
            f"{metrics.accepted}/{metrics.selected} updates  "
            f"{metrics.uplink_bytes / 1e6:.2f} MB up  {metrics.duration_s:.1f} s"
        )
        rejected = sum(metrics.rejected.values())
        return f"{line}  {rejected} rejected" if rejected else line

    def _mean(self, number: int, moment: str) -> float | None:
        reports = (self._view.report(name, number) for name in self._benign)
        values: Iterable[float | None] = (getattr(r, moment) for r in reports if r is not None)
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def _headline(self) -> Text:
        opened, announcement = self._view.open_round, self._view.announcement
        if announcement is None:
            here = sum(d.presence is Presence.ONLINE for d in self._view.devices.values())
            return Text(f"waiting for devices: {here} are there", style="bold")
        if announcement.purpose is Purpose.EVALUATE:
            return Text("measuring the last model on every device", style="bold")
        again = f", opened {opened.openings} times" if opened and opened.openings > 1 else ""
        return Text(f"round {announcement.round} of {self._rounds} is open{again}", style="bold")

    def _device_table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for title in ("device", "", "now", "received", "local", "loss"):
            right = title in ("received", "local", "loss")
            # In a narrow terminal, what a device does now is the column to cut short.
            table.add_column(title, justify="right" if right else "left", no_wrap=title != "now")
        names = sorted(self._view.devices)
        shown = max(1, self._console.height - _OTHER_LINES)
        for name in names[:shown]:
            device = self._view.devices[name]
            report = device.latest
            loss = report.loss if report else None
            table.add_row(
                name,
                Text("" if name in self._benign else "attacker", style="red"),
                _now(device),
                _percent(report.received if report else None),
                _percent(report.local if report else None),
                "" if loss is None else f"{loss:.3f}",
            )
        if len(names) > shown:
            table.add_row(f"and {len(names) - shown} more")
        return table


def _now(device: DeviceView) -> Text:
    """What a device does now, or why it does nothing."""
    if device.presence is Presence.ONLINE:
        return Text(device.doing, overflow="ellipsis", no_wrap=True)
    if device.presence is Presence.OFFLINE:
        return Text("offline", style="yellow")
    text = f"waiting: {device.waiting_for}"
    return Text(text, style="yellow", overflow="ellipsis", no_wrap=True)


def _percent(share: float | None) -> str:
    return "  -  " if share is None else f"{share:6.1%}"
