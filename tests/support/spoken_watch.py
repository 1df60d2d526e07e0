"""A watch over what a test says, in place of a broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from federation_messages import Speaker

from pfedfrz_monitor import FederationView
from pfedfrz_monitor.watch import Health
from pfedfrz_protocol import OperatorAction, OperatorAnswer


@dataclass
class SpokenWatch:
    """Shows what `lab` has said; requests are kept until the test answers them."""

    lab: Speaker = field(default_factory=Speaker)
    may_act: bool = False
    health: Health = field(
        default_factory=lambda: Health("mqtt://broker:1883", connected=True, since=1.0, heard=True)
    )
    asked: list[tuple[OperatorAction, Future[OperatorAnswer]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """There is nothing to start."""

    def close(self) -> None:
        """Nor to end."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[FederationView]:
        """The view, under a lock that does not let the same thread in twice, as the real one."""
        assert self._lock.acquire(timeout=2.0), "the view is being read already"
        try:
            yield self.lab.view
        finally:
            self._lock.release()

    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        """Keep the request."""
        answer = Future[OperatorAnswer]()
        self.asked.append((action, answer))
        return answer
