"""The chunk lane: which chunk goes out next, what is done, what a new connection needs again."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

from .faults import LinkOverflow

__all__ = ["BulkLane", "Chunk"]

_Items = tuple[tuple[str, bytes], ...]


@dataclass(slots=True, eq=False)
class _Bulk:
    sequence: int
    tag: str | None
    """None marks a clearing: empty retained messages over a dropped bulk's topics."""
    items: _Items
    retained: bool
    waiting: deque[int]
    unacknowledged: set[int] = field(default_factory=set)
    reach: int = 0
    """Items before this one were sent at least once, on whichever connection."""
    told: bool = False
    """The owner knows that it is done; a republication is not told again."""

    @property
    def payload_bytes(self) -> int:
        return sum(len(payload) for _, payload in self.items)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One item of a bulk on its way."""

    bulk: _Bulk
    index: int

    @property
    def topic(self) -> str:
        return self.bulk.items[self.index][0]

    @property
    def payload(self) -> bytes:
        return self.bulk.items[self.index][1]

    @property
    def retain(self) -> bool:
        return self.bulk.retained

    @property
    def tag(self) -> str | None:
        return self.bulk.tag


class BulkLane:
    """Bulks one after the other. Decides only; sending and counting windows is the outbox's."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._sequence = itertools.count()
        self._tagged: dict[str, _Bulk] = {}
        self._lane: list[_Bulk] = []
        """Bulks with anything to send or to be acknowledged, in the order of their making."""

    @property
    def is_idle(self) -> bool:
        """True when every chunk is acknowledged."""
        return not self._lane

    def add(self, tag: str, items: _Items, *, retained: bool) -> None:
        """Queue a bulk. Raises `ValueError` for a tag in use and `LinkOverflow`."""
        if tag in self._tagged:
            raise ValueError(f"a bulk with the tag {tag!r} is held already; drop_bulk it first")
        bulk = self._make(tag, items, retained)
        if self._held_bytes + bulk.payload_bytes > self._limit_bytes:
            raise LinkOverflow(
                f"the bulk {tag!r} of {bulk.payload_bytes} bytes does not fit beside the "
                f"{self._held_bytes} bytes that wait: the limit is {self._limit_bytes}; wait for "
                "BulkDone, drop_bulk what is no longer needed, or raise LinkLimits.bulk_bytes"
            )
        self._held_bytes += bulk.payload_bytes
        self._tagged[tag] = bulk
        self._lane.append(bulk)

    def drop(self, tag: str) -> None:
        """Forget a bulk; of a retained one, queue the clearing of whatever was sent."""
        bulk = self._tagged.get(tag)
        if bulk is None:
            return
        self._forget(bulk)
        if bulk.retained and bulk.reach:
            cleared = tuple((topic, b"") for topic, _ in bulk.items[: bulk.reach])
            self._lane.append(self._make(None, cleared, retained=True))

    def next(self) -> Chunk | None:
        """The next chunk to send, now counted as unacknowledged."""
        for bulk in self._lane:
            if bulk.waiting:
                index = bulk.waiting.popleft()
                bulk.unacknowledged.add(index)
                bulk.reach = max(bulk.reach, index + 1)
                return Chunk(bulk, index)
        return None

    def acknowledged(self, chunk: Chunk) -> str | None:
        """The bulk's tag when this was the last chunk that was missing, and that is news."""
        bulk = chunk.bulk
        bulk.unacknowledged.discard(chunk.index)
        if bulk.waiting or bulk.unacknowledged or bulk not in self._lane:
            return None
        self._lane.remove(bulk)
        if not bulk.retained:
            self._forget(bulk)
        news = None if bulk.told else bulk.tag
        bulk.told = True
        return news

    def refused(self, chunk: Chunk) -> bool:
        """Give the whole bulk up; True if that is news to the owner."""
        bulk = chunk.bulk
        if bulk.tag is None:
            self.acknowledged(chunk)
            return False
        if self._tagged.get(bulk.tag) is not bulk:
            return False
        self._forget(bulk)
        return True

    def disconnected(self) -> None:
        """Make ready for a new connection.

        Retained bulks start over, since a restarted broker has lost them; of the others, only the
        unacknowledged chunks are sent again. The order of making is kept throughout, so that a
        clearing never comes after the bulk that took over its topics.
        """
        again = set(self._lane) | {bulk for bulk in self._tagged.values() if bulk.retained}
        self._lane = sorted(again, key=lambda bulk: bulk.sequence)
        for bulk in self._lane:
            if bulk.retained and bulk.tag is not None:
                bulk.waiting = deque(range(len(bulk.items)))
            else:
                bulk.waiting.extendleft(sorted(bulk.unacknowledged, reverse=True))
            bulk.unacknowledged.clear()

    def _make(self, tag: str | None, items: _Items, retained: bool) -> _Bulk:
        return _Bulk(next(self._sequence), tag, items, retained, deque(range(len(items))))

    def _forget(self, bulk: _Bulk) -> None:
        if bulk in self._lane:
            self._lane.remove(bulk)
        if bulk.tag is not None and self._tagged.pop(bulk.tag, None) is not None:
            self._held_bytes -= bulk.payload_bytes
