"""A study while it runs: a bar in a terminal, now and then a plain line anywhere else."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pfedfrz_monitor.report.quantities import duration_text

from ..live_table import say
from .results import CellRecord
from .study_run import Progress as StudyState

__all__ = ["StudyProgress"]

_LINE_EVERY_S = 15.0
_ESTIMATE_AFTER_S = 10.0
"""Before that it is about processes that start, not about the study."""


class StudyProgress:
    """Shows StudyState; a context manager. Its methods are called from any thread."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._last = ""
        self._said_at = self._began = time.monotonic()
        self._complete = False
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}"),
                TextColumn("{task.fields[last]}", style="dim"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(name, total=None, rest="", last="")

    def __enter__(self) -> StudyProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; may be called again."""
        if self._bar:
            self._bar.stop()

    def finished(self, record: CellRecord) -> None:
        """A cell is finished."""
        last = record.last
        setting = ", ".join(filter(None, (record.variant, record.group)))
        accuracies = f"{_percent(last.received)} received, {_percent(last.local)} local"
        self._last = f"{setting}: {accuracies}"

    def update(self, state: StudyState) -> None:
        """A round is over somewhere."""
        rest = ""
        done = state.finished == state.cells
        if (
            not done
            and state.remaining_s is not None
            and time.monotonic() - self._began > _ESTIMATE_AFTER_S
        ):
            rest = f"about {duration_text(state.remaining_s)} left"
        if self._bar:
            self._bar.update(
                self._task, total=state.cells, completed=state.finished, rest=rest, last=self._last
            )
            return
        now = time.monotonic()
        if done or now - self._said_at >= _LINE_EVERY_S:
            if self._complete:
                return
            self._said_at, self._complete = now, done
            parts = (f"{self._name}: {state.finished} of {state.cells} cells", rest, self._last)
            say(self._console, "; ".join(part for part in parts if part))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
