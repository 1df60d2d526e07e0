"""The link over MQTT 5: a thread that connects, carries packets both ways, and reconnects.

The owner's calls change the outbox under a lock and wake the thread; the thread alone touches the
network. Back-pressure from the broker is the outbox's bounds. Back-pressure to the broker has two
steps: a QoS 1 message is acknowledged only when the owner takes it, so that a broker which honours
Receive Maximum holds the rest; and when the inbox is full all the same (QoS 0, or a broker that
ignores the maximum), the socket is not read until there is room. Nothing is dropped here. An owner
that does not poll for longer than the keepalive in that state loses the connection, and the reason
in `LinkDown` says so.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from paho.mqtt.client import MQTTMessage

from .address import BrokerAddress, MqttOptions
from .backoff import Backoff
from .base import BaseLink
from .connect_fault import ConnectFault, describe_exception
from .events import LinkDown, LinkUp, Message, Refused
from .faults import BrokerUnreachable
from .link import Will
from .mqtt_connection import Accepted, MqttConnection

__all__ = ["MqttLink"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
"""paho looks after the keepalive only when called; this is how often, at least."""
_GOODBYE_S = 1.0
_SUSPICIOUS = 3


@dataclass(frozen=True, slots=True)
class _Goodbye:
    fire_will: bool


class MqttLink(BaseLink):
    """A `Link` to an MQTT 5 broker."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        will: Will | None = None,
        options: MqttOptions | None = None,
    ) -> None:
        options = options if options is not None else MqttOptions()
        super().__init__(client_id, will, options.limits, options.largest_packet_bytes)
        self._address = address
        self._options = options
        self._subscription_changes: deque[tuple[str, int | None]] = deque()
        """Filters to subscribe with a QoS, or to unsubscribe, in the owner's order."""
        self._goodbye: _Goodbye | None = None
        self._fault: ConnectFault | None = None
        self._thread: threading.Thread | None = None
        self._waking: socket.socket | None = None
        self._taken: deque[tuple[MqttConnection, int]] = deque()
        """Messages to acknowledge, as the connection they came by and their identifier there."""
        self._is_reading = True
        self._is_waking = False
        """Whether the thread was woken and has not looked for work since."""
        self._tokens: dict[int, int] = {}
        """Outbox tokens by packet identifier; the thread's own, as is the next."""
        self._short_lives = 0
        """Connections in a row that were taken and soon cut."""

    def __repr__(self) -> str:
        return f"MqttLink({str(self._address)!r}, {self.client_id!r})"

    def start(self) -> None:
        with self._changed:
            self._refuse_when_closed()
            if self._thread is not None:
                raise RuntimeError("the link was started already")
            waker, self._waking = socket.socketpair()
            waker.setblocking(False)
            self._waking.setblocking(False)
            self._thread = threading.Thread(
                target=self._run,
                args=(waker, self._waking),
                name=f"mqtt {self.client_id}",
                daemon=True,
            )
            self._thread.start()

    def wait_until_up(
        self, timeout_s: float, *, cancelled: Callable[[], bool] = lambda: False
    ) -> bool:
        with self._changed:
            waited = self._wait_for(
                lambda: (
                    self._is_up
                    or self._is_closed
                    or (self._fault is not None and self._fault.is_permanent)
                ),
                timeout_s,
                cancelled,
            )
            self._refuse_when_closed()
            if waited and not self._is_up:
                fault = self._fault or ConnectFault(f"no answer within {timeout_s:g} s")
                raise BrokerUnreachable(str(self._address), fault.happened, fault.remedy)
            return self._is_up

    def close(self, *, timeout_s: float = 5.0, fire_will: bool = False) -> bool:
        with self._changed:
            # Where nothing is to be flushed there is no goodbye to wait for either.
            patience_s = timeout_s if self._is_up else 0.0
            deadline = time.monotonic() + patience_s
            is_drained = self._flush_and_close(timeout_s, fire_will)
            self._goodbye = self._goodbye or _Goodbye(fire_will and not is_drained)
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            self._wake_thread()
            # It may be inside a connect that cannot be cut short; it ends by itself afterwards.
            thread.join(max(_GOODBYE_S, deadline - time.monotonic()))
        self._inbox.wake()
        return is_drained

    def _on_work(self) -> None:
        self._wake_thread()

    def _on_subscription(self, topic_filter: str, qos: int | None) -> None:
        self._subscription_changes.append((topic_filter, qos))
        self._wake_thread()

    def _wake_thread(self) -> None:
        # A byte for every message would cost more than the message: one is enough until the thread
        # has taken it, which it does before it looks for work.
        if self._is_waking:
            return
        # A full pipe wakes as well; a closed one means that the thread has ended.
        if self._waking is not None:
            self._is_waking = True
            with contextlib.suppress(OSError):
                self._waking.send(b"\0")

    # -- the thread

    def _run(self, waker: socket.socket, waking: socket.socket) -> None:
        seed = self._options.backoff_seed
        backoff = Backoff(self._options.backoff, random.Random(seed))
        with waker, waking:
            while self._goodbye is None:
                was_up_s = self._live(waker)
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._goodbye is not None, backoff.next_s(was_up_s)
                    )

    def _live(self, waker: socket.socket) -> float:
        """One connection from beginning to end; for how many seconds it was up."""
        connection = MqttConnection(self._address, self.client_id, self.will, self._options)
        up_since: float | None = None
        try:
            connection.open()
            patience = time.monotonic() + self._options.connect_timeout_s
            while connection.fault is None:
                if up_since is None and connection.accepted is not None:
                    up_since = time.monotonic()
                    self._came_up(connection.accepted)
                if up_since is not None:
                    self._send(connection)
                elif time.monotonic() > patience:
                    connection.fault = ConnectFault(
                        "it took the connection but did not answer as an MQTT 5 broker",
                        "check that an MQTT 5 broker listens on this port",
                    )
                    break
                if self._goodbye is not None:
                    _leave(connection, waker, self._goodbye)
                    break
                until_s = _TICK_S if up_since is not None else patience - time.monotonic()
                self._step(connection, waker, timeout_s=max(0.0, min(_TICK_S, until_s)))
                self._receive(connection)
        except Exception as error:
            # paho raises many things on bytes that it does not expect: whatever it is, this
            # connection is over and the next may be better.
            _log.exception("the connection of %r failed", self)
            connection.fault = describe_exception(error)
        finally:
            connection.abandon()
        was_up_s = 0.0 if up_since is None else time.monotonic() - up_since
        if up_since is not None:
            is_short = was_up_s < self._options.backoff.settled_s
            self._short_lives = self._short_lives + 1 if is_short else 0
        self._went_down(connection, was_up=up_since is not None)
        return was_up_s

    def _step(self, connection: MqttConnection, waker: socket.socket, *, timeout_s: float) -> None:
        # False first: an owner that makes room between the two lines then wakes us.
        self._is_reading = False
        self._is_reading = connection.accepted is None or self._inbox.has_room
        connection.step(waker, may_read=self._is_reading, timeout_s=timeout_s)
        with contextlib.suppress(BlockingIOError):
            waker.recv(4096)
        self._is_waking = False

    def _came_up(self, accepted: Accepted) -> None:
        self._tokens.clear()
        with self._changed:
            self._is_up = True
            self._fault = None
            self._outbox.connected(
                window=accepted.receive_maximum,
                largest_packet_bytes=accepted.largest_packet_bytes,
            )
            self._subscription_changes = deque(self._subscriptions.items())
            self._changed.notify_all()
            self._inbox.put(LinkUp(accepted.session_present))

    def _went_down(self, connection: MqttConnection, *, was_up: bool) -> None:
        fault = connection.fault or ConnectFault("closed by us")
        with self._changed:
            self._is_up = False
            self._fault = fault
            self._outbox.disconnected()
            self._changed.notify_all()
            if was_up and self._goodbye is None:
                reason = fault.happened
                if self._short_lives >= _SUSPICIOUS:
                    # Not every broker says why it ends the older of two connections.
                    reason += f"; again and again: has another client the id {self.client_id!r}?"
                if not self._is_reading:
                    reason += "; the inbox was full, poll must be called more often"
                self._inbox.put(LinkDown(reason))

    def _send(self, connection: MqttConnection) -> None:
        while self._taken:
            source, packet_identifier = self._taken.popleft()
            # An identifier means nothing on another connection than its own.
            if source is connection:
                connection.acknowledge(packet_identifier)
        while not connection.is_stalled:
            with self._changed:
                # Looked at together: a question must not overtake the subscription to its answer.
                changes = list(self._subscription_changes)
                self._subscription_changes.clear()
                packet = None if changes else self._outbox.next_packet()
                self._tell_owner()
                if packet is not None:
                    self._count_sent(packet.topic, packet.payload)
            if packet is not None:
                sent_as = connection.publish(packet)
                if sent_as is not None and packet.qos:
                    self._tokens[sent_as] = packet.token
            elif changes:
                _send_subscriptions(connection, changes)
            else:
                return

    def _receive(self, connection: MqttConnection) -> None:
        while connection.received:
            self._deliver(connection, connection.received.popleft())
        while connection.refused_filters:
            self._inbox.put(Refused(*connection.refused_filters.popleft()))
        if not connection.settled:
            return
        with self._changed:
            while connection.settled:
                packet_identifier, refusal = connection.settled.popleft()
                token = self._tokens.pop(packet_identifier, None)
                if token is None:
                    continue  # QoS 0, settled when it was handed over
                if refusal is None:
                    self._outbox.acknowledged(token)
                else:
                    self._outbox.refused(token, refusal)
            self._tell_owner()
            self._changed.notify_all()

    def _deliver(self, connection: MqttConnection, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            # Acknowledged, else the broker would send it again with every session for ever.
            _log.warning("a message on a topic that is not UTF-8 was thrown away by %r", self)
            if message.qos:
                connection.acknowledge(message.mid)
            return
        payload = bytes(message.payload)
        with self._changed:
            self._count_received(topic, payload)
        on_taken = (
            partial(self._acknowledge, connection, message.mid) if message.qos else self._make_room
        )
        self._inbox.put(Message(topic, payload, message.retain), on_taken)

    # -- called on the owner's thread, without the lock, when it takes a message

    def _acknowledge(self, connection: MqttConnection, packet_identifier: int) -> None:
        self._taken.append((connection, packet_identifier))
        self._wake_thread()

    def _make_room(self) -> None:
        if not self._is_reading:
            self._wake_thread()


def _send_subscriptions(connection: MqttConnection, changes: list[tuple[str, int | None]]) -> None:
    wanted: dict[str, int] = {}
    for topic_filter, qos in changes:
        if qos is not None:
            wanted[topic_filter] = qos
            continue
        if wanted:
            connection.subscribe(wanted)
            wanted = {}
        connection.unsubscribe(topic_filter)
    if wanted:
        connection.subscribe(wanted)


def _leave(connection: MqttConnection, waker: socket.socket, goodbye: _Goodbye) -> None:
    connection.leave(fire_will=goodbye.fire_will)
    deadline = time.monotonic() + _GOODBYE_S
    while connection.is_open and time.monotonic() < deadline:
        connection.step(waker, may_read=False, timeout_s=0.05)
