"""What the coordinator's loop tells of itself to whoever measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pfedfrz_protocol import RejectReason, RoundMetrics

from .engine_states import EngineState
from .journal import DeviceRow
from .registry import Standing

__all__ = ["Instruments", "Situation"]


@dataclass(frozen=True)
class Situation:
    """How a coordinator is at one moment."""

    state: EngineState
    round: int
    """The open one, or the last that was closed."""
    paused: bool
    connected: bool
    """Whether the broker is there."""
    online: int
    waiting: int
    silent: int
    """Devices that are there; there and may not train; and there but let deadlines pass."""
    ignored: Mapping[RejectReason, int]
    """Messages that were not looked into, since the last round was closed."""


class Instruments(Protocol):
    """Everything is called from the loop, and takes no longer than a look."""

    def look(self, situation: Situation) -> None:
        """How it is now; about every second, and when a round is opened or closed."""

    def standings(self, standings: Mapping[Standing, int]) -> None:
        """How many devices are let in, wait for that, or are kept out; every few seconds."""

    def aggregating(self, now_s: float) -> None:
        """The next model is begun, by a clock that only goes forward."""

    def closed(
        self,
        metrics: RoundMetrics,
        members: Callable[[], Sequence[DeviceRow]],
        *,
        closed_at: float,
        now_s: float,
    ) -> None:
        """A round was closed: its numbers, where to read its devices, when by Unix time and by the
        other clock."""

    def resumed(self, metrics: RoundMetrics, closed_at: float) -> None:
        """The last round that an earlier life of this coordinator has closed."""
