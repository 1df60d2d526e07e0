"""What happened and a person may want to know, newest last, bounded."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from itertools import islice

__all__ = ["Entry", "Kind", "LogBook"]

_MOST = 1000


class Kind(str, enum.Enum):
    """What an entry is about."""

    ROUND = "round"
    DEVICE = "device"
    """It came, went or waits."""
    REJECTED = "rejected"
    FAILED = "failed"
    OPPOSES = "opposes"
    """It keeps pulling against the others."""
    KEPT_OUT = "kept-out"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    serial: int
    """Counts all entries there ever were, from 1."""
    at: float
    """Unix seconds by this machine's clock."""
    kind: Kind
    text: str
    device: str = ""
    round: int = 0


class LogBook:
    """The last thousand entries."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_MOST)
        self._count = 0

    @property
    def count(self) -> int:
        """How many there ever were."""
        return self._count

    def add(self, at: float, kind: Kind, text: str, device: str = "", number: int = 0) -> None:
        """Write a line."""
        self._count += 1
        self._entries.append(Entry(self._count, at, kind, text, device, number))

    def since(self, serial: int) -> list[Entry]:
        """The kept entries behind that serial, oldest first."""
        fresh = min(len(self._entries), max(0, self._count - serial))
        return list(islice(self._entries, len(self._entries) - fresh, None))
