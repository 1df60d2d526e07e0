"""The owner's queue of events: bounded for the network, open for the owner's own threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .events import LinkEvent, Message
from .link import LinkLimits

__all__ = ["Inbox"]


@dataclass(frozen=True, slots=True)
class _Arrival:
    event: LinkEvent
    on_taken: Callable[[], None] | None


class Inbox:
    """Events in the order of their arrival; thread-safe.

    Nothing is refused here: `has_room` tells the network when to stop reading instead, so that
    what does not fit stays with the broker.
    """

    def __init__(self, limits: LinkLimits) -> None:
        self._limits = limits
        self._arrivals: deque[_Arrival] = deque()
        self._messages = 0
        self._bytes = 0
        self._is_woken = False
        self._changed = threading.Condition()

    @property
    def has_room(self) -> bool:
        """True while more messages may be read from the network."""
        with self._changed:
            return self._has_room()

    def put(self, event: LinkEvent, on_taken: Callable[[], None] | None = None) -> None:
        """Append an event; `on_taken` runs on the owner's thread when it takes the event."""
        with self._changed:
            self._arrivals.append(_Arrival(event, on_taken))
            if isinstance(event, Message):
                self._messages += 1
                self._bytes += len(event.payload)
            self._changed.notify()

    def wake(self) -> None:
        """Make one `take` return None at once."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def take(self, timeout_s: float) -> LinkEvent | None:
        """The oldest event; None after `timeout_s`, or when woken with nothing there."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._arrivals:
                left_s = deadline - time.monotonic()
                if self._is_woken or left_s <= 0:
                    self._is_woken = False
                    return None
                self._changed.wait(left_s)
            arrival = self._arrivals.popleft()
            if isinstance(arrival.event, Message):
                self._messages -= 1
                self._bytes -= len(arrival.event.payload)
        if arrival.on_taken is not None:
            arrival.on_taken()
        return arrival.event

    def _has_room(self) -> bool:
        return (
            self._messages < self._limits.inbox_messages and self._bytes < self._limits.inbox_bytes
        )
