"""Devices that compute slowly: stopped and continued, some times a second.

A stopped process does nothing at all, so that its link is as slow as its training: so it is on a
board whose processor is too slow for both. A sleep between batches would leave the link quick.

A stopped process does not hear either that it is to end. So a small process of its own waits for
the end of this one, kill -9 included, and lets everybody go on who was stopped.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol

__all__ = ["SlowMembers", "StoppableMembers"]

_PERIOD_S = 0.1
_GUARD = """\
import os, signal, sys
pids = {int(line) for line in sys.stdin}
for pid in pids:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
"""


class StoppableMembers(Protocol):
    """The processes of a fleet."""

    def pid(self, name: str) -> int:
        """The process id of a member."""

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a member; nothing happens when it has ended."""


class SlowMembers:
    """A thread that lets the members run for one part in `slowdown` of the time."""

    def __init__(self, members: StoppableMembers, names: Iterable[str], slowdown: float) -> None:
        self._members = members
        self._names = tuple(names)
        self._runs_s = _PERIOD_S / slowdown
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow members")
        self._guard: subprocess.Popen[str] | None = None
        self._guarded: set[int] = set()

    def __enter__(self) -> SlowMembers:
        if self._names:
            self._guard = subprocess.Popen(
                [sys.executable, "-c", _GUARD],
                stdin=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._guard is not None:
            self._thread.join()
            self._guard.communicate()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._runs_s):
                self._watch_over_all()
                self._tell(signal.SIGSTOP)
                self._ended.wait(_PERIOD_S - self._runs_s)
                self._tell(signal.SIGCONT)
        finally:
            self._tell(signal.SIGCONT)

    def _watch_over_all(self) -> None:
        """Before anybody is stopped, the guard knows them: a member that came back is a new one."""
        assert self._guard is not None
        assert self._guard.stdin is not None
        new = {self._members.pid(name) for name in self._names} - self._guarded
        for pid in new:
            self._guard.stdin.write(f"{pid}\n")
        self._guard.stdin.flush()
        self._guarded |= new

    def _tell(self, number: signal.Signals) -> None:
        for name in self._names:
            with contextlib.suppress(ProcessLookupError):
                self._members.send_signal(name, number)
