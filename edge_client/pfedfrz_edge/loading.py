"""Loading beside the main thread, so that systemd hears of a process that takes its time.

Samples and a runtime may take minutes on a slow card. The main thread waits and tells systemd so:
before the service is ready it asks for more time, afterwards it feeds the watchdog.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from pfedfrz_transport import ServiceManager

__all__ = ["load_beside"]

_LONGEST_S = 3600.0
"""What takes longer hangs: systemd hears no more of it, and ends the process."""
_LOOK_S = 5.0
_ENDING = (signal.SIGINT, signal.SIGTERM)
Loaded = TypeVar("Loaded")


def load_beside(
    manager: ServiceManager,
    status: str,
    load: Callable[[], Loaded],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Loaded:
    """What `load` gives back, or raises; it runs on a thread of its own.

    To be called from the main thread. SIGINT and SIGTERM end the process at once meanwhile, by
    their default action: native code that is loading cannot be told to stop, and what the device
    writes stands a kill at any instant.
    """
    job = _Job(load)
    gives_up_s = clock() + _LONGEST_S
    manager.take_long_to_start()
    with _default_signals():
        job.start()
        while job.is_alive():
            if clock() < gives_up_s:
                manager.turn(status)
            job.join(min(_LOOK_S, manager.longest_wait_s))
    return job.result()


class _Job(threading.Thread, Generic[Loaded]):
    """A daemon: a process that is told to end does not wait for it."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        super().__init__(name="pfedfrz-load", daemon=True)
        self._load = load
        self._loaded: list[Loaded] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._loaded.append(self._load())
        except BaseException as error:  # raised again where it was asked for
            self._error = error

    def result(self) -> Loaded:
        if self._error is not None:
            raise self._error
        return self._loaded[0]


@contextmanager
def _default_signals() -> Iterator[None]:
    """Those that are ignored stay so, as in a shell's background."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
