"""What a link does to the bytes that it carries, as times alone: no socket and no clock here.

TCP hides loss behind waiting, so that is what a lost segment is: its direction stands still for
TCP's retransmission timer, and what comes after it is late as well, in order and whole. A segment
leaves when those before it have left and the bandwidth has let it through; it arrives a latency,
give or take the jitter, later, but never before its predecessor.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["SEGMENT_BYTES", "LinkConditions", "LinkPath"]

SEGMENT_BYTES = 1448
"""What fits into an Ethernet frame."""
_LEAST_TIMEOUT_S = 0.2
"""Of TCP's retransmission timer, on Linux."""


@dataclass(frozen=True)
class LinkConditions:
    """One link, the same both ways; the default is loopback as it is."""

    bytes_s: float = 0.0
    """0: as fast as it goes."""
    latency_s: float = 0.0
    """One way."""
    jitter_s: float = 0.0
    loss: float = 0.0
    """Share of segments."""
    cut_every_s: float = 0.0
    """Mean time between resets; 0: none."""

    @property
    def is_plain(self) -> bool:
        """Whether bytes may simply be passed on."""
        return not (self.bytes_s or self.latency_s or self.jitter_s or self.loss)

    @property
    def timeout_s(self) -> float:
        """How long a lost segment holds its direction up."""
        return max(_LEAST_TIMEOUT_S, 3 * self.latency_s)


class LinkPath:
    """One direction of one connection: segments go in, the times at which they arrive come out."""

    def __init__(self, conditions: LinkConditions, source: random.Random) -> None:
        self._conditions = conditions
        self._source = source
        self._free_s = 0.0
        self._arrived_s = 0.0
        self.stalls = 0
        """Segments that were lost, and came late."""

    def arrives_s(self, size: int, now_s: float) -> float:
        """When `size` bytes that are sent now arrive, on the clock of `now_s`."""
        conditions = self._conditions
        if self._source.random() < conditions.loss:
            self.stalls += 1
            self._free_s = max(now_s, self._free_s) + conditions.timeout_s
        took_s = size / conditions.bytes_s if conditions.bytes_s else 0.0
        self._free_s = max(now_s, self._free_s) + took_s
        late_s = self._source.uniform(-1, 1) * min(conditions.jitter_s, conditions.latency_s)
        arrives_s = self._free_s + conditions.latency_s + late_s
        self._arrived_s = max(self._arrived_s, arrives_s)
        return self._arrived_s
