"""Devices that compute slowly: stopped and continued, some times a second.

A stopped process does nothing at all, so that its link is as slow as its training: so it is on a
board whose processor is too slow for both. A sleep between batches would leave the link quick.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

__all__ = ["SlowMembers"]

_PERIOD_S = 0.1


class SlowMembers:
    """A thread that lets the members run for one part in `slowdown` of the time."""

    def __init__(
        self,
        send_signal: Callable[[str, signal.Signals], None],
        names: Iterable[str],
        slowdown: float,
    ) -> None:
        """`send_signal` takes a member's name; nothing happens where the member is gone."""
        self._send_signal = send_signal
        self._names = tuple(names)
        self._runs_s = _PERIOD_S / slowdown
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow members")

    def __enter__(self) -> SlowMembers:
        if self._names:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._names:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._runs_s):
                self._tell(signal.SIGSTOP)
                self._ended.wait(_PERIOD_S - self._runs_s)
                self._tell(signal.SIGCONT)
        finally:
            # A stopped process would not hear that it is to end.
            self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for name in self._names:
            with contextlib.suppress(ProcessLookupError):
                self._send_signal(name, number)
