"""What a link sends next: a pure state machine that MQTT and the in-memory twin share.

The owner's calls go in at one side; at the other a transport takes packets, one at a time and only
when it can write, and reports acknowledgements and lost connections. Nothing here waits, locks or
does I/O. Because the choice falls at the moment of writing, a heartbeat that comes while a model is
being sent goes out before the next chunk of it.

paho's own queue is never used for this: it sends again, after a reconnect, what it had before, and
an old retained status would so come after a newer one and stay.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from .bulk import BulkLane, Chunk
from .events import BulkDone, LinkEvent, Refused
from .faults import LinkOverflow, PayloadTooLarge
from .filters import check_topic
from .link import LinkLimits

__all__ = ["Outbox", "Packet", "packet_bytes"]


@dataclass(frozen=True, slots=True)
class Packet:
    """One message for the transport to write; with QoS 1 it later reports on the token."""

    token: int
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class _Single:
    sequence: int
    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class _State:
    """A retained value that is to hold on the broker; an empty one is a clearing under way."""

    topic: str
    payload: bytes
    version: int


def packet_bytes(topic: str, payload: bytes) -> int:
    """The size of an MQTT 5 PUBLISH packet without properties, at most 3 bytes too high."""
    return 1 + 4 + 2 + len(topic.encode("utf-8")) + 2 + 1 + len(payload)


class Outbox:
    """The two lanes, the remembered state and what is in flight. Not thread-safe."""

    def __init__(self, limits: LinkLimits, largest_packet_bytes: int) -> None:
        self._limits = limits
        self._own_largest_bytes = largest_packet_bytes
        self._largest_bytes = largest_packet_bytes
        self._window = 0
        self._is_connected = False
        self._numbers = itertools.count(1)
        # Singles are keyed by their number, state by its topic: a newer value of the same topic
        # takes the older one's place without a search.
        self._queue: OrderedDict[int | str, _Single | _State] = OrderedDict()
        self._state: dict[str, _State] = {}
        self._bulks = BulkLane(limits.bulk_bytes)
        self._in_flight: dict[int, _Single | _State | Chunk] = {}
        self._chunks_in_flight = 0
        self._singles = 0
        self._held_bytes = 0
        self._events: deque[LinkEvent] = deque()

    # -- the owner's side

    def publish(self, topic: str, payload: bytes, qos: int) -> None:
        """Queue a message; raises `ValueError`, `PayloadTooLarge` or `LinkOverflow`."""
        if qos not in (0, 1):
            raise ValueError(f"QoS {qos}: only 0 and 1 are used")
        self._check(topic, payload)
        if qos == 0 and not self._is_connected:
            return
        if self._singles >= self._limits.queued_messages:
            raise LinkOverflow(
                f"{self._singles} messages wait for the broker, which is the limit; publish more "
                "slowly, wait for the link to come up, or raise LinkLimits.queued_messages"
            )
        self._reserve(len(payload))
        self._singles += 1
        number = next(self._numbers)
        self._queue[number] = _Single(number, topic, payload, qos)

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Remember and queue a retained value; raises as `publish` does."""
        if not payload:
            raise ValueError(f"an empty retained payload on {topic}: use clear_retained")
        self._set_state(topic, payload)

    def clear_retained(self, topic: str) -> None:
        """Queue the removal of a retained value, remembered until it is acknowledged."""
        self._set_state(topic, b"")

    def publish_bulk(
        self, items: Iterable[tuple[str, bytes]], *, tag: str, retained: bool = False
    ) -> None:
        """Queue chunks; raises as `publish` does, and `ValueError` for a tag in use."""
        held = tuple(items)
        for topic, payload in held:
            self._check(topic, payload)
            if retained and not payload:
                raise ValueError(f"an empty retained payload on {topic} in the bulk {tag!r}")
        if not held:
            self._events.append(BulkDone(tag))
            return
        self._bulks.add(tag, held, retained=retained)

    def drop_bulk(self, tag: str) -> None:
        """Send nothing more of a bulk and clear what was retained of it."""
        self._bulks.drop(tag)

    # -- the transport's side

    @property
    def is_drained(self) -> bool:
        """True when nothing waits and everything sent is acknowledged."""
        return not self._queue and not self._in_flight and self._bulks.is_idle

    def connected(self, *, window: int, largest_packet_bytes: int) -> None:
        """Begin to give packets: remembered state first, then what waited, in order.

        `window` and `largest_packet_bytes` are the broker's limits for this connection.
        """
        self._is_connected = True
        self._window = max(1, min(window, self._limits.window))
        self._largest_bytes = min(largest_packet_bytes, self._own_largest_bytes)
        waiting = self._queue
        self._queue = OrderedDict(self._state)
        self._queue.update(waiting)

    def disconnected(self) -> None:
        """Take back what was not acknowledged; QoS 0 messages that waited are gone."""
        self._is_connected = False
        returned = [self._in_flight[token] for token in sorted(self._in_flight)]
        waited = list(self._queue.values())
        self._in_flight.clear()
        self._chunks_in_flight = 0
        self._queue = OrderedDict()
        for entry in [*returned, *waited]:
            if isinstance(entry, _Single):
                if entry.qos:
                    self._queue[entry.sequence] = entry
                else:
                    self._release(entry)
        self._bulks.disconnected()

    def next_packet(self) -> Packet | None:
        """The packet to write now; None when there is none or a window is full."""
        while self._is_connected:
            entry = self._choose()
            if entry is None:
                return None
            token = next(self._numbers)
            size = packet_bytes(entry.topic, entry.payload)
            if size > self._largest_bytes:
                reason = f"{size} bytes are over the broker's limit of {self._largest_bytes}"
                self._give_up(entry, reason)
                continue
            qos = entry.qos if isinstance(entry, _Single) else 1
            if qos:
                self._in_flight[token] = entry
                self._chunks_in_flight += isinstance(entry, Chunk)
            else:
                self._settle(entry)
            retain = entry.retain if isinstance(entry, Chunk) else isinstance(entry, _State)
            return Packet(token, entry.topic, entry.payload, qos, retain)
        return None

    def acknowledged(self, token: int) -> None:
        """The broker has it. A token of an earlier connection is ignored."""
        entry = self._land(token)
        if entry is not None:
            self._settle(entry)

    def refused(self, token: int, reason: str) -> None:
        """The broker will not have it, and said why."""
        entry = self._land(token)
        if entry is not None:
            self._give_up(entry, reason)

    def take_events(self) -> list[LinkEvent]:
        """What the owner should be told, taken out: `BulkDone` and `Refused`."""
        events = list(self._events)
        self._events.clear()
        return events

    # -- inside

    def _check(self, topic: str, payload: bytes) -> None:
        check_topic(topic)
        size = packet_bytes(topic, payload)
        if size > self._largest_bytes:
            raise PayloadTooLarge(topic, size, self._largest_bytes)

    def _reserve(self, size: int) -> None:
        if self._held_bytes + size > self._limits.queued_bytes:
            raise LinkOverflow(
                f"{self._held_bytes} bytes of single messages are held and {size} more are over "
                f"the limit of {self._limits.queued_bytes}; send large data with publish_bulk, "
                "wait for the link to come up, or raise LinkLimits.queued_bytes"
            )
        self._held_bytes += size

    def _set_state(self, topic: str, payload: bytes) -> None:
        self._check(topic, payload)
        before = self._state.get(topic)
        if before is None and len(self._state) >= self._limits.retained_topics:
            raise LinkOverflow(
                f"{len(self._state)} retained topics are remembered, which is the limit; "
                "clear_retained what is no longer needed, or raise LinkLimits.retained_topics"
            )
        self._reserve(len(payload) - (len(before.payload) if before is not None else 0))
        state = _State(topic, payload, next(self._numbers))
        self._state[topic] = state
        if self._is_connected:
            # At the end, not in the old value's place: it was decided after all that waits.
            self._queue.pop(topic, None)
            self._queue[topic] = state

    def _choose(self) -> _Single | _State | Chunk | None:
        has_room = len(self._in_flight) < self._window
        if self._queue:
            key, entry = next(iter(self._queue.items()))
            if has_room or (isinstance(entry, _Single) and entry.qos == 0):
                del self._queue[key]
                return entry
        if has_room and self._chunks_in_flight < self._limits.bulk_window:
            return self._bulks.next()
        return None

    def _land(self, token: int) -> _Single | _State | Chunk | None:
        entry = self._in_flight.pop(token, None)
        self._chunks_in_flight -= isinstance(entry, Chunk)
        return entry

    def _settle(self, entry: _Single | _State | Chunk) -> None:
        if isinstance(entry, _Single):
            self._release(entry)
        elif isinstance(entry, _State):
            if not entry.payload and self._state.get(entry.topic) == entry:
                del self._state[entry.topic]
        else:
            tag = self._bulks.acknowledged(entry)
            if tag is not None:
                self._events.append(BulkDone(tag))

    def _give_up(self, entry: _Single | _State | Chunk, reason: str) -> None:
        if isinstance(entry, Chunk):
            if self._bulks.refused(entry):
                self._events.append(Refused(entry.topic, reason, entry.tag))
            return
        if isinstance(entry, _Single):
            self._release(entry)
        self._events.append(Refused(entry.topic, reason))

    def _release(self, single: _Single) -> None:
        self._singles -= 1
        self._held_bytes -= len(single.payload)
