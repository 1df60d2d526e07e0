"""A broker in one process, for tests and for fleets of threads: what MQTT promises, without a wire.

It keeps retained messages, sessions with their queues, and wills, counts unacknowledged messages
against each client's Receive Maximum, and notes every message that is published. One lock guards
the broker and all of its links: there is no order of locks to get wrong.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from .filters import topic_matches
from .link import Will
from .outbox import Packet
from .subscriptions import SubscriptionIndex

__all__ = ["Captured", "Delivery", "MemoryBroker", "MemoryClient"]


@dataclass(frozen=True, slots=True)
class Captured:
    """One message as it reached the broker, wills included."""

    client_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to a client; a QoS 1 delivery is acknowledged by its number."""

    number: int
    topic: str
    payload: bytes
    qos: int
    retained: bool


class MemoryClient(Protocol):
    """What the broker asks of a link; every method is called with the broker's lock held."""

    client_id: str
    will: Will | None
    receive_maximum: int

    @property
    def has_room(self) -> bool:
        """False while the inbox is full."""
        ...

    def came_up(self, *, session_present: bool) -> None:
        """The broker took the connection."""
        ...

    def went_down(self, reason: str) -> None:
        """The connection is over."""
        ...

    def deliver(self, delivery: Delivery) -> None:
        """Take a message into the inbox."""
        ...

    def settle(self, token: int) -> None:
        """The broker acknowledges a packet."""
        ...


@dataclass(slots=True)
class _Session:
    waiting: deque[Delivery] = field(default_factory=deque)
    unacknowledged: dict[int, Delivery] = field(default_factory=dict)


class MemoryBroker:
    """The broker that `MemoryLink`s connect to. It runs from the start.

    `captured` holds every message ever published, unless `capture` is false. The methods `stop`,
    `start`, `drop`, `kill` and `hold_acknowledgements` make the faults that links must survive.
    """

    def __init__(self, *, capture: bool = True, queued_messages: int = 20_000) -> None:
        self.lock = threading.RLock()
        self.captured: list[Captured] = []
        self._capture = capture
        self._queued_messages = queued_messages
        self._is_running = True
        self._numbers = 0
        self._known: dict[str, MemoryClient] = {}
        """Started links that are not closed: those that connect whenever they can."""
        self._connected: dict[str, MemoryClient] = {}
        self._sessions: dict[str, _Session] = {}
        self._subscriptions = SubscriptionIndex()
        self._retained: dict[str, bytes] = {}
        self._late_wills: dict[str, threading.Timer] = {}
        self._cut_off: set[str] = set()
        self._holds_acknowledgements = False
        self._held: list[tuple[MemoryClient, int]] = []

    # -- faults and inspection, for tests

    def retained(self) -> dict[str, bytes]:
        """The retained messages, `{topic: payload}`."""
        with self.lock:
            return dict(self._retained)

    def connected_clients(self) -> set[str]:
        """The client ids that are connected now."""
        with self.lock:
            return set(self._connected)

    def stop(self, *, forget: bool = True) -> None:
        """End the broker. It forgets sessions and retained messages, as after a SIGKILL."""
        with self.lock:
            self._is_running = False
            self._held.clear()
            clients = list(self._connected.values())
            self._connected.clear()
            if forget:
                self._sessions.clear()
                self._subscriptions.clear()
                self._retained.clear()
            for timer in self._late_wills.values():
                timer.cancel()
            self._late_wills.clear()
            for client in clients:
                client.went_down("the connection was cut")

    def start(self) -> None:
        """Run again; every waiting link connects at once."""
        with self.lock:
            self._is_running = True
            for client in list(self._known.values()):
                self._connect(client)

    def drop(self, client_id: str, *, stay_away: bool = False) -> None:
        """Cut one client's connection; it comes back at once, or with `stay_away` at `let_in`."""
        with self.lock:
            client = self._connected.get(client_id)
            if stay_away:
                self._cut_off.add(client_id)
            if client is not None:
                self._lose(client, "the connection was cut")
                self._connect(client)

    def let_in(self, client_id: str) -> None:
        """End what `drop(..., stay_away=True)` began."""
        with self.lock:
            self._cut_off.discard(client_id)
            client = self._known.get(client_id)
            if client is not None:
                self._connect(client)

    def kill(self, client_id: str) -> None:
        """Let a client vanish as if its process died: no event, no return; its will follows."""
        with self.lock:
            client = self._known.pop(client_id, None)
            if client is not None and self._connected.pop(client_id, None) is not None:
                self._hang_up(client)

    def hold_acknowledgements(self) -> None:
        """Acknowledge nothing until `release_acknowledgements`, so that windows fill."""
        with self.lock:
            self._holds_acknowledgements = True

    def release_acknowledgements(self, count: int | None = None) -> None:
        """Acknowledge the oldest `count` packets held, or all of them and no longer hold any."""
        with self.lock:
            if count is None:
                self._holds_acknowledgements = False
            released = self._held[:count]
            del self._held[:count]
            for client, token in released:
                client.settle(token)

    # -- the links' side

    def attach(self, client: MemoryClient) -> None:
        """Connect a link now if the broker runs, and whenever it can from now on.

        A second client with the same id takes the first one's place, as MQTT has it.
        """
        with self.lock:
            before = self._known.get(client.client_id)
            self._known[client.client_id] = client
            if before is not None and self._connected.get(client.client_id) is before:
                self._lose(before, "another client with the same client id connected")
            self._connect(client)

    def detach(self, client: MemoryClient, *, fire_will: bool) -> None:
        """End a link's connection and session; its will is published only when asked for."""
        with self.lock:
            if self._known.get(client.client_id) is not client:
                return
            del self._known[client.client_id]
            self._cut_off.discard(client.client_id)
            was_connected = self._connected.pop(client.client_id, None) is not None
            self._sessions.pop(client.client_id, None)
            self._subscriptions.remove_client(client.client_id)
            timer = self._late_wills.pop(client.client_id, None)
            if timer is not None:
                timer.cancel()
            if was_connected and fire_will and client.will is not None:
                self._fire(client.client_id, client.will)

    def publish(self, client: MemoryClient, packet: Packet) -> None:
        """Distribute a packet; a QoS 1 packet is acknowledged, at once or when released."""
        with self.lock:
            if not self._is_here(client):
                return
            self._distribute(
                Captured(client.client_id, packet.topic, packet.payload, packet.qos, packet.retain)
            )
            if packet.qos == 0:
                return
            if self._holds_acknowledgements:
                self._held.append((client, packet.token))
            else:
                client.settle(packet.token)

    def subscribe(self, client: MemoryClient, topic_filter: str, qos: int) -> None:
        """Begin a subscription, or renew it; retained messages follow either way."""
        with self.lock:
            if not self._is_here(client):
                return
            self._subscriptions.add(client.client_id, topic_filter, qos)
            for topic, payload in list(self._retained.items()):
                if topic_matches(topic_filter, topic):
                    self._hand(client.client_id, topic, payload, qos, retained=True)

    def unsubscribe(self, client: MemoryClient, topic_filter: str) -> None:
        """End a subscription."""
        with self.lock:
            if self._is_here(client):
                self._subscriptions.remove(client.client_id, topic_filter)

    def acknowledge(self, client: MemoryClient, number: int) -> None:
        """A client took a delivery; the next may follow."""
        with self.lock:
            if self._is_here(client):
                self._sessions[client.client_id].unacknowledged.pop(number, None)
                self._flush(client.client_id)

    # -- inside, with the lock held

    def _is_here(self, client: MemoryClient) -> bool:
        # False for a client that was killed: its owner may go on for a while without knowing.
        return self._connected.get(client.client_id) is client

    def _connect(self, client: MemoryClient) -> None:
        name = client.client_id
        if not self._is_running or name in self._connected or name in self._cut_off:
            return
        timer = self._late_wills.pop(name, None)
        if timer is not None:
            timer.cancel()
        session = self._sessions.get(name)
        is_present = session is not None
        if session is None:
            session = self._sessions[name] = _Session()
        session.waiting.extendleft(reversed(session.unacknowledged.values()))
        session.unacknowledged.clear()
        self._connected[name] = client
        client.came_up(session_present=is_present)
        self._flush(name)

    def _lose(self, client: MemoryClient, reason: str) -> None:
        del self._connected[client.client_id]
        self._hang_up(client)
        client.went_down(reason)

    def _hang_up(self, client: MemoryClient) -> None:
        self._held = [entry for entry in self._held if entry[0] is not client]
        will = client.will
        if will is None:
            return
        if not will.delay_s:
            self._fire(client.client_id, will)
            return
        timer = threading.Timer(will.delay_s, self._fire_late, (client.client_id, will))
        timer.daemon = True
        self._late_wills[client.client_id] = timer
        timer.start()

    def _fire_late(self, client_id: str, will: Will) -> None:
        with self.lock:
            if self._late_wills.pop(client_id, None) is threading.current_thread():
                self._fire(client_id, will)

    def _fire(self, client_id: str, will: Will) -> None:
        self._distribute(Captured(client_id, will.topic, will.payload, will.qos, will.retain))

    def _distribute(self, message: Captured) -> None:
        if self._capture:
            self.captured.append(message)
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message.payload
            else:
                self._retained.pop(message.topic, None)
        for name, granted in self._subscriptions.receivers(message.topic).items():
            qos = min(message.qos, granted)
            self._hand(name, message.topic, message.payload, qos, retained=False)

    def _hand(self, name: str, topic: str, payload: bytes, qos: int, *, retained: bool) -> None:
        self._numbers += 1
        delivery = Delivery(self._numbers, topic, payload, qos, retained)
        client = self._connected.get(name)
        if qos == 0:
            if client is not None and client.has_room:
                client.deliver(delivery)
            return
        session = self._sessions[name]
        if len(session.waiting) < self._queued_messages:
            session.waiting.append(delivery)
        self._flush(name)

    def _flush(self, name: str) -> None:
        client = self._connected.get(name)
        session = self._sessions.get(name)
        if client is None or session is None:
            return
        while (
            session.waiting
            and len(session.unacknowledged) < client.receive_maximum
            and client.has_room
        ):
            delivery = session.waiting.popleft()
            session.unacknowledged[delivery.number] = delivery
            client.deliver(delivery)
