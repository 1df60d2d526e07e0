"""The faults of a run as they come: kills, restarts, partitions; and how many there were."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from ..brokers import RunningBroker
from .network import EmulatedNetwork
from .schedule import FaultKind, PlannedFault

__all__ = ["FaultInjector", "Members"]


class Members(Protocol):
    """What can be done to the processes of a fleet."""

    def kill(self, name: str) -> bool:
        """SIGKILL; False when there was nothing to kill."""

    def start_again(self, name: str) -> None:
        """Bring a killed member back."""


class FaultInjector:
    """Does what was planned when its time has come; called from one thread, `act` often."""

    def __init__(
        self,
        plan: Iterable[PlannedFault],
        members: Members,
        broker: RunningBroker,
        network: EmulatedNetwork | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`network` may be None when the plan has no partition."""
        self._plan = sorted(plan, key=lambda fault: fault.round, reverse=True)
        self._members = members
        self._broker = broker
        self._network = network
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._counts: Counter[str] = Counter()
        self.is_broker_down = False
        """Whether the broker is away because of us."""

    @property
    def counts(self) -> dict[str, int]:
        """What has happened so far, by kind, in the order of the kinds."""
        counts = {f"{kind.value}s": self._counts[kind.value] for kind in FaultKind}
        if self._network is not None:
            counts["link cuts"] = self._network.cuts
            counts["link stalls"] = self._network.stalls
        return {name: count for name, count in counts.items() if count}

    @property
    def coordinator_kills(self) -> int:
        """How often the coordinator was killed so far, and came or comes back."""
        return self._counts[FaultKind.COORDINATOR_KILL.value]

    @property
    def next_s(self) -> float | None:
        """When `act` has something to do, by the clock; None while nothing is due."""
        return self._due[0][0] if self._due else None

    def see_round(self, number: int) -> None:
        """A round was opened: the faults of it, and of those before it, are due in their time."""
        while self._plan and self._plan[-1].round <= number:
            fault = self._plan.pop()
            self._at(self._clock() + fault.after_s, lambda fault=fault: self._inject(fault))  # type: ignore[misc]

    def act(self) -> None:
        """Do everything that is due."""
        while self._due and self._due[0][0] <= self._clock():
            heapq.heappop(self._due)[2]()

    def _at(self, due_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), do))

    def _inject(self, fault: PlannedFault) -> None:
        undo = self._begin(fault)
        if undo is not None:
            self._counts[fault.kind.value] += 1
            self._at(self._clock() + fault.lasts_s, undo)

    def _begin(self, fault: PlannedFault) -> Callable[[], None] | None:
        """What ends the fault; None when it could not happen: its victim is down already."""
        if fault.kind is FaultKind.PARTITION:
            network = self._network
            assert network is not None, "a partition needs a network"
            network.hold(fault.victims)
            return lambda: network.release(fault.victims)
        if fault.kind is FaultKind.BROKER_KILL:
            if self.is_broker_down or not self._broker.is_running:
                return None
            self.is_broker_down = True
            self._broker.kill()
            return lambda: self._restart_broker(fault.persists)
        (name,) = fault.victims
        if not self._members.kill(name):
            return None
        return lambda: self._members.start_again(name)

    def _restart_broker(self, persists: bool) -> None:
        self._broker.start_again(persist=persists and self._broker.name == "mosquitto")
        self.is_broker_down = False
