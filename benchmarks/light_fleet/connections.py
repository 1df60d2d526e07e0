"""Thousands of MQTT 5 connections in one thread: paho's clients, all on one epoll.

Every client is driven from outside, as the product's own link does it
(transport/pfedfrz_transport/mqtt_connection.py): what comes is put into a queue by paho's callbacks
and handled after paho has returned, so that nothing is published from inside a callback.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from .light_client import Outgoing

__all__ = ["Connection", "Connections"]

_KEEPALIVE_S = 60
_LOOK_AFTER_S = 10.0
_WINDOW = 2
"""Chunks in flight, as LinkLimits.bulk_window has it for devices."""


class Connection:
    """One client's connection; `received` is emptied by its owner."""

    def __init__(self, client_id: str, filters: tuple[str, ...], will: Outgoing) -> None:
        self.received: deque[MQTTMessage] = deque()
        self.is_up = False
        """Whether the broker has answered all subscriptions."""
        self.is_counted = False
        """Whether its owner has taken note of that."""
        self.fault: str | None = None
        self._filters = filters
        self._chunks: deque[Outgoing] = deque()
        self._in_flight: set[int] = set()
        self._acknowledged: deque[int] = deque()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.max_inflight_messages_set(0)
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def open(self, host: str, port: int) -> socket.socket:
        """Connect and send CONNECT; the socket."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 600
        self._client.connect(host, port, _KEEPALIVE_S, clean_start=True, properties=properties)
        opened = self._client.socket()
        assert isinstance(opened, socket.socket)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def publish(self, message: Outgoing) -> int:
        """Hand a message to the socket; its packet identifier."""
        told = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if told.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.fault = f"publish: {told.rc!r}"
        return told.mid

    def upload(self, chunks: Iterable[Outgoing]) -> None:
        """Publish chunks, two in flight; what was left of an upload before is given up."""
        self._chunks = deque(chunks)
        self._feed()

    @property
    def is_uploading(self) -> bool:
        """Whether a chunk is not acknowledged yet."""
        return bool(self._chunks or self._in_flight)

    def _feed(self) -> None:
        while self._chunks and len(self._in_flight) < _WINDOW:
            self._in_flight.add(self.publish(self._chunks.popleft()))

    def read(self) -> None:
        """Read what has come; paho's callbacks fill the queues."""
        if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.fault = self.fault or "the connection was cut"
        while self._acknowledged:
            self._in_flight.discard(self._acknowledged.popleft())
        self._feed()

    def write(self) -> None:
        """Write what waits."""
        self._client.loop_write()

    @property
    def wants_write(self) -> bool:
        """Whether the socket did not take everything."""
        return self._client.want_write()

    def look_after(self) -> None:
        """Keep the connection alive."""
        self._client.loop_misc()

    def close(self) -> None:
        """Say goodbye and forget the session."""
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=0), properties)

    def _on_connect(
        self,
        client: Client,
        userdata: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.fault = str(reason)
            return
        client.subscribe([(name, SubscribeOptions(qos=1)) for name in self._filters])

    def _on_subscribe(
        self,
        client: Client,
        userdata: object,
        packet_identifier: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self.is_up = True

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.received.append(message)

    def _on_publish(
        self,
        client: Client,
        userdata: object,
        packet_identifier: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.fault = str(reason)
        self._acknowledged.append(packet_identifier)


class Connections:
    """All connections of one process, and the one wait for all of them."""

    def __init__(self, on_ready: Callable[[Connection], None]) -> None:
        """`on_ready` is called for a connection after its socket was read."""
        self._on_ready = on_ready
        self._poller = select.epoll()
        self._by_socket: dict[int, Connection] = {}
        self._numbers: dict[Connection, int] = {}
        self._others: dict[int, Callable[[], None]] = {}
        self._writing: set[int] = set()
        self._looked_after_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._by_socket)

    def open(self, connection: Connection, host: str, port: int) -> None:
        """Open a connection and attend to it from now on."""
        number = connection.open(host, port).fileno()
        self._by_socket[number] = connection
        self._numbers[connection] = number
        self._poller.register(number, select.EPOLLIN)
        self._watch(number, connection)

    def attend(self, number: int, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` when another file has something to read."""
        self._others[number] = on_ready
        self._poller.register(number, select.EPOLLIN)

    def step(self, timeout_s: float) -> None:
        """Wait for something to happen and handle all that has."""
        for number, happened in self._poller.poll(timeout_s):
            other = self._others.get(number)
            if other is not None:
                other()
                continue
            connection = self._by_socket[number]
            if happened & select.EPOLLOUT:
                connection.write()
            if happened & ~select.EPOLLOUT:
                connection.read()
                self._on_ready(connection)
            self._watch(number, connection)
        if time.monotonic() > self._looked_after_s + _LOOK_AFTER_S:
            self._looked_after_s = time.monotonic()
            for number, connection in self._by_socket.items():
                connection.look_after()
                self._watch(number, connection)

    def watch(self) -> None:
        """After publishing outside of `on_ready`: attend to sockets that did not take it all."""
        for number, connection in self._by_socket.items():
            self._watch(number, connection)

    def watch_one(self, connection: Connection) -> None:
        """The same for one connection."""
        self._watch(self._numbers[connection], connection)

    def _watch(self, number: int, connection: Connection) -> None:
        if connection.fault is not None:
            raise ConnectionError(f"a light client lost its connection: {connection.fault}")
        wants = connection.wants_write
        if wants != (number in self._writing):
            self._poller.modify(number, select.EPOLLIN | (select.EPOLLOUT if wants else 0))
            (self._writing.add if wants else self._writing.discard)(number)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._by_socket.values():
            connection.close()
        self._poller.close()
