"""Runs a device's work: one worker at a time, and the next one as soon as that has ended.

The methods are for the agent's thread; a worker that ends says so by a `WorkerEnded` that it posts.
"""

from __future__ import annotations

from dataclasses import dataclass

from .bundle_follower import BundleFollower
from .session_exchange import StartWork
from .worker import Worker, WorkerContext

__all__ = ["WorkRunner", "WorkerEnded"]

_JOIN_S = 10.0


@dataclass(frozen=True)
class WorkerEnded:
    """The worker's thread does nothing more."""


class WorkRunner:
    """The work under way, and that which waits for its end."""

    def __init__(self, context: WorkerContext, follower: BundleFollower | None = None) -> None:
        """`follower` is told when a worker begins and ends: a bundle may be on trial."""
        self._context = context
        self._follower = follower
        self._worker: Worker | None = None
        self._next: StartWork | None = None
        self._is_paused = False

    @property
    def is_busy(self) -> bool:
        """Whether a worker's thread is running."""
        return self._worker is not None

    def start(self, work: StartWork) -> None:
        """Begin `work`, or do so when the worker under way has ended."""
        self._is_paused = False  # work is begun only where the device may train
        self._begin(work)

    def cancel(self) -> None:
        """Call off the work under way, and that which waits."""
        self._next = None
        if self._worker:
            self._worker.cancel()

    def pause(self) -> None:
        """Hold up the work under way, and that which waits for its end."""
        self._is_paused = True
        if self._worker:
            self._worker.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        if self._worker:
            self._worker.resume()

    def ended(self) -> None:
        """The worker has said that it does nothing more: the work that waits begins."""
        self._worker = None
        if self._follower:
            self._follower.work_ended()
        if self._next:
            self._begin(self._next)

    def close(self) -> None:
        """Call the work off and wait for its end, not for ever."""
        if self._worker:
            self._worker.cancel()
            self._worker.join(_JOIN_S)

    def _begin(self, work: StartWork) -> None:
        if self._worker:
            # Called off, it ends at its next batch. Two may not run at once, since both would
            # write the personal weights; and to wait here would silence the heartbeat.
            self._next = work
            return
        self._next = None
        if self._follower:
            self._follower.work_begins()
        self._worker = Worker(self._context, work, lambda: self._context.post(WorkerEnded()))
        if self._is_paused:
            self._worker.pause()
        self._worker.start()
