"""The in-memory twin of the MQTT link: same outbox, same inbox, no network."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial

from .events import LinkDown, LinkEvent, LinkUp, Message, Posted
from .faults import BrokerUnreachable, LinkClosed
from .filters import check_filter, check_topic
from .inbox import Inbox
from .link import LinkLimits, Traffic, Will
from .memory_broker import Delivery, MemoryBroker
from .outbox import Outbox

__all__ = ["MemoryLink"]


class MemoryLink:
    """A `Link` to a `MemoryBroker`. Messages are delivered on the publisher's thread.

    It reconnects as soon as the broker lets it: there is no delay between attempts.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str,
        *,
        will: Will | None = None,
        limits: LinkLimits | None = None,
        receive_maximum: int = 64,
        largest_packet_bytes: int = 2 * 1024 * 1024,
    ) -> None:
        check_topic(client_id)
        if will is not None:
            check_topic(will.topic)
        self.client_id = client_id
        self.will = will
        self.receive_maximum = receive_maximum
        self._broker = broker
        self._limits = limits if limits is not None else LinkLimits()
        self._largest_packet_bytes = largest_packet_bytes
        self._changed = threading.Condition(broker.lock)
        self._outbox = Outbox(self._limits, largest_packet_bytes)
        self._inbox = Inbox(self._limits)
        self._subscriptions: dict[str, int] = {}
        self._is_up = False
        self._is_started = False
        self._is_closed = False
        self._is_sending = False
        self._sent = (0, 0)
        self._received = (0, 0)

    def __repr__(self) -> str:
        return f"MemoryLink({self.client_id!r})"

    @property
    def is_up(self) -> bool:
        with self._changed:
            return self._is_up

    @property
    def traffic(self) -> Traffic:
        with self._changed:
            return Traffic(*self._sent, *self._received)

    def start(self) -> None:
        with self._changed:
            self._refuse_when_closed()
            if self._is_started:
                raise RuntimeError("the link was started already")
            self._is_started = True
            self._broker.attach(self)

    def wait_until_up(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_up or self._is_closed, timeout_s)
            self._refuse_when_closed()
            if not self._is_up:
                raise BrokerUnreachable(
                    "in memory", f"no answer within {timeout_s:g} s", "start the MemoryBroker"
                )

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        with self._changed:
            self._refuse_when_closed()
            self._outbox.publish(topic, payload, qos)
            self._send()

    def publish_retained(self, topic: str, payload: bytes) -> None:
        with self._changed:
            self._refuse_when_closed()
            self._outbox.publish_retained(topic, payload)
            self._send()

    def clear_retained(self, topic: str) -> None:
        with self._changed:
            self._refuse_when_closed()
            self._outbox.clear_retained(topic)
            self._send()

    def publish_bulk(
        self, items: Iterable[tuple[str, bytes]], *, tag: str, retained: bool = False
    ) -> None:
        held = tuple(items)
        with self._changed:
            self._refuse_when_closed()
            self._outbox.publish_bulk(held, tag=tag, retained=retained)
            self._send()

    def drop_bulk(self, tag: str) -> None:
        with self._changed:
            self._refuse_when_closed()
            self._outbox.drop_bulk(tag)
            self._send()

    def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        check_filter(topic_filter)
        if qos not in (0, 1):
            raise ValueError(f"QoS {qos}: only 0 and 1 are used")
        with self._changed:
            self._refuse_when_closed()
            self._subscriptions[topic_filter] = qos
            if self._is_up:
                self._broker.subscribe(self, topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        with self._changed:
            self._refuse_when_closed()
            if self._subscriptions.pop(topic_filter, None) is not None and self._is_up:
                self._broker.unsubscribe(self, topic_filter)

    def poll(self, timeout_s: float) -> LinkEvent | None:
        return self._inbox.take(timeout_s)

    def wake(self) -> None:
        self._inbox.wake()

    def post(self, value: object) -> None:
        self._inbox.put(Posted(value))

    def close(self, *, timeout_s: float = 5.0, fire_will: bool = False) -> bool:
        with self._changed:
            if not self._is_closed:
                self._is_closed = True
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: not self._is_up or self._outbox.is_drained, timeout_s
                )
            is_drained = self._outbox.is_drained
            self._is_up = False
            self._broker.detach(self, fire_will=fire_will)
        self._inbox.wake()
        return is_drained

    # -- what the broker calls, with the lock held

    @property
    def has_room(self) -> bool:
        """False while the inbox is full."""
        return self._inbox.has_room

    def came_up(self, *, session_present: bool) -> None:
        """The broker took the connection."""
        self._is_up = True
        self._inbox.put(LinkUp(session_present))
        self._outbox.connected(
            window=self._limits.window, largest_packet_bytes=self._largest_packet_bytes
        )
        for topic_filter, qos in self._subscriptions.items():
            self._broker.subscribe(self, topic_filter, qos)
        self._send()
        self._changed.notify_all()

    def went_down(self, reason: str) -> None:
        """The connection is over; the broker will call `came_up` again when it can."""
        self._is_up = False
        self._outbox.disconnected()
        if not self._is_closed:
            self._inbox.put(LinkDown(reason))
        self._changed.notify_all()

    def deliver(self, delivery: Delivery) -> None:
        """Take a message into the inbox."""
        messages, size = self._received
        self._received = (
            messages + 1,
            size + len(delivery.topic) + len(delivery.payload),
        )
        message = Message(delivery.topic, delivery.payload, delivery.retained)
        # Numbers are never used twice, so that a late acknowledgement cannot hit another delivery.
        self._inbox.put(message, partial(self._broker.acknowledge, self, delivery.number))

    def settle(self, token: int) -> None:
        """The broker acknowledges a packet."""
        self._outbox.acknowledged(token)
        self._send()
        self._changed.notify_all()

    # -- inside

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise LinkClosed(f"the link of {self.client_id!r} was closed")

    def _send(self) -> None:
        # An acknowledgement comes while a packet is being handed over: the loop that runs already
        # takes the next packet, else a long bulk would be a deep recursion.
        if not self._is_sending:
            self._is_sending = True
            try:
                while (packet := self._outbox.next_packet()) is not None:
                    messages, size = self._sent
                    self._sent = (messages + 1, size + len(packet.topic) + len(packet.payload))
                    self._broker.publish(self, packet)
            finally:
                self._is_sending = False
        for event in self._outbox.take_events():
            self._inbox.put(event)
