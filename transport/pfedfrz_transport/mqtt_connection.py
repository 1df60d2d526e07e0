"""One MQTT 5 connection from CONNECT to its end: paho, driven from outside by one thread.

paho's external-loop interface is used, not its `loop_start`: everything that touches the client
runs on the one thread that owns the connection, so no callback can meet a lock that a publisher
holds, no exception kills a thread unseen, and waiting for the next attempt can be cut short.
Callbacks append to a queue and do nothing else. Every attempt gets a new client, because a used one
sends old messages again by itself (see outbox.py).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from .address import BrokerAddress, MqttOptions
from .connect_fault import ConnectFault, describe_exception, describe_refusal
from .link import Will
from .outbox import Packet

__all__ = ["Accepted", "MqttConnection"]

_DISCONNECT_WITH_WILL = 0x04
_FILTERS_PER_PACKET = 100


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker said when it took the connection."""

    session_present: bool
    receive_maximum: int
    largest_packet_bytes: int


class _TellingSocket(ssl.SSLSocket):
    """Remembers why TLS ended. paho takes every error while reading for a cut cable.

    With TLS 1.3 a broker's refusal of our certificate comes after the handshake, as such an error.
    """

    fault: ssl.SSLError | None = None

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()  # paho leaves it to the garbage collector
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.fault = error
            raise

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            # A broker that has closed already has said why before: it waits to be read.
            with contextlib.suppress(OSError):
                self.recv(1)
            raise


class MqttConnection:
    """A connection under way. Not thread-safe; the queues below are emptied by its owner."""

    def __init__(
        self, address: BrokerAddress, client_id: str, will: Will | None, options: MqttOptions
    ) -> None:
        self._address = address
        self._options = options
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = options.connect_timeout_s
        client.max_inflight_messages_set(0)  # the outbox has the windows; paho must not queue
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if will is not None:
            properties = _properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = will.delay_s
            client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe

        self.accepted: Accepted | None = None
        self.fault: ConnectFault | None = None
        """Why the connection ended or never was; None while there is hope."""
        self.received: deque[MQTTMessage] = deque()
        self.settled: deque[tuple[int, str | None]] = deque()
        """Packet identifier of a QoS 1 message, and why it was refused or None."""
        self.refused_filters: deque[tuple[str, str]] = deque()
        self._asked_filters: dict[int, list[str]] = {}
        self._telling: _TellingSocket | None = None

    def open(self) -> None:
        """Connect the socket and send CONNECT; blocks for up to the connect timeout.

        A failure is in `fault` afterwards.
        """
        options = self._options
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.session_expiry_s
        properties.ReceiveMaximum = options.receive_maximum
        properties.MaximumPacketSize = options.largest_packet_bytes
        try:
            if self._address.tls:
                self._client.tls_set_context(self._tls_context())
            self._client.connect(
                self._address.host,
                self._address.port,
                keepalive=options.keepalive_s,
                clean_start=False,
                properties=properties,
            )
            connection = self._client.socket()
            if isinstance(connection, socket.socket):
                # Else two small packets in a row cost 40 ms: the second waits for the delayed
                # acknowledgement of the first.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, ValueError) as error:
            self.fault = describe_exception(error)

    @property
    def is_open(self) -> bool:
        """True while there is a socket."""
        return self._client.socket() is not None

    @property
    def is_stalled(self) -> bool:
        """True when the socket takes no more for now; nothing is to be handed over meanwhile."""
        return self._client.want_write() or not self.is_open

    def step(self, waker: socket.socket, *, may_read: bool, timeout_s: float) -> None:
        """Wait for the network, or for `waker` to be readable, and handle what came.

        With `may_read` false the socket is left alone unless the other side closed it, so that
        what is sent to us stays where it is.
        """
        connection = self._client.socket()
        if connection is None:
            return
        poller = select.poll()
        poller.register(waker, select.POLLIN)
        interest = select.POLLIN if may_read else 0
        if self._client.want_write():
            interest |= select.POLLOUT
        poller.register(connection, interest)
        # Bytes that TLS has decrypted already are invisible to poll.
        if may_read and isinstance(connection, ssl.SSLSocket) and connection.pending():
            timeout_s = 0.0
            may_read_now = True
        else:
            may_read_now = False
        ready = dict(poller.poll(timeout_s * 1000.0))
        happened = ready.get(connection.fileno(), 0)
        if may_read_now or happened & ~select.POLLOUT:
            self._client.loop_read()
        if happened & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if not self.is_open and self.fault is None:
            self.fault = ConnectFault("the connection was cut")

    def publish(self, packet: Packet) -> int | None:
        """Hand a packet to the socket; the packet identifier, or None if the connection ended."""
        while True:
            told = self._client.publish(packet.topic, packet.payload, packet.qos, packet.retain)
            # An identifier that is still in use after 65,535 others: take the next one.
            if told.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                return told.mid if told.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def acknowledge(self, packet_identifier: int) -> None:
        """Tell the broker that a QoS 1 message was taken."""
        self._client.ack(packet_identifier, 1)

    def subscribe(self, filters: dict[str, int]) -> None:
        """Ask for subscriptions, `{filter: QoS}`."""
        asked = list(filters.items())
        for start in range(0, len(asked), _FILTERS_PER_PACKET):
            part = asked[start : start + _FILTERS_PER_PACKET]
            options = [(topic_filter, SubscribeOptions(qos=qos)) for topic_filter, qos in part]
            _, identifier = self._client.subscribe(options)
            if identifier is not None:
                self._asked_filters[identifier] = [topic_filter for topic_filter, _ in part]

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for the end of a subscription."""
        self._client.unsubscribe(topic_filter)

    def leave(self, *, fire_will: bool) -> None:
        """Send DISCONNECT and end the session; with `fire_will` the broker publishes the will."""
        properties = _properties(PacketTypes.DISCONNECT)
        properties.SessionExpiryInterval = 0
        code = _DISCONNECT_WITH_WILL if fire_will else 0
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=code), properties)

    def abandon(self) -> None:
        """Close the socket without a goodbye, if it is open still."""
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _tls_context(self) -> ssl.SSLContext:
        options = self._options
        context = ssl.create_default_context(cafile=options.ca_file)
        context.sslsocket_class = _TellingSocket
        if options.certificate_file is not None:
            context.load_cert_chain(options.certificate_file, options.key_file)
        return context

    # -- callbacks of paho: they only note what happened

    def _on_socket_open(self, client: Client, userdata: object, opened: object) -> None:
        if isinstance(opened, _TellingSocket):
            self._telling = opened

    def _on_connect(
        self,
        client: Client,
        userdata: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.fault = describe_refusal(reason.value, str(reason))
            return
        if getattr(properties, "MaximumQoS", 1) < 1 or not getattr(
            properties, "RetainAvailable", 1
        ):
            self.fault = ConnectFault(
                "it offers no QoS 1 or no retained messages",
                "use a broker that has both",
                is_permanent=True,
            )
            return
        self.accepted = Accepted(
            session_present=flags.session_present,
            receive_maximum=getattr(properties, "ReceiveMaximum", 65_535),
            largest_packet_bytes=getattr(properties, "MaximumPacketSize", 2**28),
        )

    def _on_disconnect(
        self,
        client: Client,
        userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self.fault is not None:
            return
        if flags.is_disconnect_packet_from_server:
            self.fault = describe_refusal(reason.value, str(reason))
        elif self._telling is not None and self._telling.fault is not None:
            self.fault = describe_exception(self._telling.fault)
        elif reason == "Keep alive timeout":
            self.fault = ConnectFault("it was silent for longer than the keepalive allows")
        elif self.accepted is None:
            self.fault = ConnectFault(
                "it closed the connection without answering as an MQTT 5 broker",
                "check that an MQTT 5 broker listens on this port, and whether it wants mqtts://",
            )
        else:
            self.fault = ConnectFault("the connection was cut")

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
        self.settled.append((packet_identifier, str(reason) if reason.is_failure else None))

    def _on_subscribe(
        self,
        client: Client,
        userdata: object,
        packet_identifier: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        asked = self._asked_filters.pop(packet_identifier, [])
        for topic_filter, reason in zip(asked, reasons, strict=False):
            if reason.is_failure:
                self.refused_filters.append((topic_filter, str(reason)))


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it untyped
