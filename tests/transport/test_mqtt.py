"""What only a real broker and a real network can show."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pfedfrz_transport import (
    BackoffPolicy,
    BrokerAddress,
    BrokerUnreachable,
    BulkDone,
    Link,
    LinkClosed,
    LinkDown,
    LinkEvent,
    LinkLimits,
    LinkUp,
    Message,
    MqttLink,
    MqttOptions,
    PayloadTooLarge,
    Refused,
    probe_broker,
)

World = Any  # conftest's; test files cannot import it
Until = Callable[[Link, Callable[[LinkEvent], bool]], list[LinkEvent]]
QUICK = BackoffPolicy(first_s=0.02, longest_s=0.1)


def is_up(event: LinkEvent) -> bool:
    return isinstance(event, LinkUp)


def is_down(event: LinkEvent) -> bool:
    return isinstance(event, LinkDown)


def is_message(event: LinkEvent) -> bool:
    return isinstance(event, Message)


@contextmanager
def opened(address: BrokerAddress, name: str, **options: Any) -> Iterator[MqttLink]:
    link = MqttLink(address, name, options=MqttOptions(**{"backoff": QUICK, **options}))
    try:
        yield link
    finally:
        link.close(timeout_s=0.0)


class Relay:
    """A TCP connection to the broker that can be slow, and can be cut."""

    def __init__(self, target: BrokerAddress, bytes_per_s: float | None = None) -> None:
        self._target = (target.host, target.port)
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.address = BrokerAddress("127.0.0.1", self._listener.getsockname()[1])
        self._spawn(self._accept)

    def cut(self) -> None:
        for held in self._sockets:
            with ExitStack() as closing:
                closing.callback(held.close)
                held.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            # Small buffers, so that what is on its way is what the link has handed over.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            self._spawn(self._pump, near, far, self._bytes_per_s)
            self._spawn(self._pump, far, near, None)

    def _pump(
        self, source: socket.socket, target: socket.socket, bytes_per_s: float | None
    ) -> None:
        due = time.monotonic()
        try:
            while data := source.recv(16_384):
                target.sendall(data)
                if bytes_per_s is not None:
                    due = max(due, time.monotonic() - 0.01) + len(data) / bytes_per_s
                    time.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            pass


@pytest.fixture
def relayed(real: World) -> Iterator[Callable[..., Relay]]:
    with ExitStack() as closing:

        def make(bytes_per_s: float | None = None) -> Relay:
            relay = Relay(real.broker.address, bytes_per_s)
            closing.callback(relay.close)
            return relay

        yield make


def test_heartbeats_do_not_wait_behind_a_10_mb_bulk(
    real: World, until: Until, relayed: Callable[..., Relay]
) -> None:
    monitor = real.started("monitor", "heartbeat")
    with opened(relayed(bytes_per_s=6e6).address, "device") as device:
        device.start()
        device.wait_until_up(5.0)
        chunks = [(f"update/{i}", bytes(256 * 1024)) for i in range(38)]
        began = time.monotonic()
        device.publish_bulk(chunks, tag="update")
        delays = []
        while device.poll(0.05) != BulkDone("update"):
            device.publish("heartbeat", b"%.6f" % time.monotonic(), qos=0)
            (beat,) = until(monitor, is_message)
            assert isinstance(beat, Message)
            delays.append(time.monotonic() - float(beat.payload))
        took = time.monotonic() - began
    assert took > 1.4, "the relay was not slow, so nothing was measured"
    assert len(delays) > 5
    # Two chunks of 256 KiB at 6 MB/s are 0.09 s; the bulk as one message would be 1.7 s.
    assert max(delays) < 0.6


def test_what_was_received_but_not_taken_is_delivered_again_to_a_kept_session(
    real: World, until: Until, relayed: Callable[..., Relay]
) -> None:
    relay = relayed()
    sender = real.started("sender")
    with opened(relay.address, "receiver", receive_maximum=4) as receiver:
        receiver.subscribe("n")
        receiver.start()
        until(receiver, is_up)
        real.settle(receiver)
        before = receiver.traffic.received_messages
        for number in range(10):
            sender.publish("n", b"%d" % number)
        while receiver.traffic.received_messages < before + 4:
            time.sleep(0.005)
        relay.cut()
        events = until(receiver, is_up)
        assert LinkUp(session_present=True) in events
        events += until(receiver, lambda event: getattr(event, "payload", b"") == b"9")
        numbers = [int(event.payload) for event in events if isinstance(event, Message)]
        assert sorted(set(numbers)) == list(range(10))
        # The first four stayed unacknowledged when the connection was cut: twice, never lost.
        assert numbers[:4] == [0, 1, 2, 3]


def test_a_message_over_the_brokers_own_limit_is_refused_and_the_link_stays_up(
    real: World, until: Until
) -> None:
    roomy = LinkLimits(queued_bytes=2**26)
    with opened(real.broker.address, "sender", largest_packet_bytes=2**25, limits=roomy) as sender:
        sender.publish("queued", bytes(17 * 2**20))
        sender.publish("small", b"")
        receiver = real.started("receiver", "small")
        sender.start()
        until(receiver, is_message)
        events = until(sender, lambda event: isinstance(event, Refused))
        assert "limit" in getattr(events[-1], "reason", "")
        with pytest.raises(PayloadTooLarge):
            sender.publish("now", bytes(17 * 2**20))
        sender.publish("small", b"")
        until(receiver, is_message)
        assert sender.is_up
        assert sender.poll(0.1) is None


def test_a_broker_that_falls_silent_is_noticed_by_the_keepalive(real: World, until: Until) -> None:
    with opened(real.broker.address, "device", keepalive_s=1, connect_timeout_s=0.5) as device:
        device.start()
        until(device, is_up)
        os.kill(real.broker.pid, signal.SIGSTOP)
        try:
            down = until(device, is_down)[-1]
        finally:
            os.kill(real.broker.pid, signal.SIGCONT)
        assert "silent" in getattr(down, "reason", "")
        until(device, is_up)


def test_two_clients_with_one_id_are_told_so_and_do_not_flap_quickly(
    real: World, until: Until
) -> None:
    slow = BackoffPolicy(first_s=0.1, longest_s=5.0)
    with (
        opened(real.broker.address, "twin", backoff=slow) as first,
        opened(real.broker.address, "twin", backoff=slow) as second,
    ):
        first.start()
        until(first, is_up)
        second.start()
        # Each comes back by putting the other out, but ever more slowly: 0.1, 0.2, 0.4 s.
        events = until(first, lambda event: "'twin'" in getattr(event, "reason", ""))
        assert sum(map(is_up, events)) == 2


def test_an_absent_broker_is_one_clear_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = BrokerAddress("127.0.0.1", unused.getsockname()[1], username="u", password="pw")
        with opened(address, "device") as device:
            device.start()
            with pytest.raises(BrokerUnreachable) as caught:
                device.wait_until_up(0.3)
    assert str(caught.value) == (
        f"broker mqtt://127.0.0.1:{address.port} does not answer: connection refused; "
        "start it, or check host and port"
    )


def test_waiting_for_a_link_that_is_closed_meanwhile_ends() -> None:
    link = MqttLink(BrokerAddress("127.0.0.1", 1), "device")
    link.start()
    threading.Timer(0.1, link.close).start()
    with pytest.raises(LinkClosed):
        link.wait_until_up(10.0)


def test_waiting_ends_soon_after_it_was_cancelled() -> None:
    is_cancelled = threading.Event()
    threading.Timer(0.2, is_cancelled.set).start()
    with opened(BrokerAddress("127.0.0.1", 1), "device") as device:
        device.start()
        began = time.monotonic()
        assert device.wait_until_up(60.0, cancelled=is_cancelled.is_set) is False
        assert time.monotonic() - began < 10


def test_closing_does_not_wait_for_a_connect_that_nobody_answers() -> None:
    with socket.socket() as server, ExitStack() as fillers:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # the queue is full: the next connect hangs, as at a host that is off
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        link = MqttLink(BrokerAddress("127.0.0.1", server.getsockname()[1]), "device")
        link.start()
        time.sleep(0.3)
        began = time.monotonic()
        link.close(timeout_s=8.0)
        assert time.monotonic() - began < 4


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[BrokerAddress]:
    """A server that is no broker; it treats every connection with `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(2.0)
                    connection.recv(4096)
                    answer(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield BrokerAddress("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (lambda connection: connection.recv(1), "did not answer as an MQTT 5 broker"),
        (lambda connection: None, "without answering as an MQTT 5 broker"),
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"), "MQTT 5 broker"),
        # What a broker for MQTT 3.1.1 alone says: unacceptable protocol version.
        (lambda connection: connection.sendall(b"\x20\x02\x00\x01"), "MQTT 5"),
        (lambda connection: connection.sendall(b"\x20\x03\x00\x84\x00"), "speaks MQTT 5"),
        (lambda connection: connection.sendall(b"\x20\x05\x00\x00\x02\x24\x00"), "no QoS 1"),
    ],
    ids=["silent", "closes", "http", "mqtt 3.1.1", "refuses mqtt 5", "qos 0 only"],
)
def test_something_that_is_no_mqtt_5_broker_is_named_as_that(
    answer: Callable[[socket.socket], None], line: str
) -> None:
    with listening(answer) as address, pytest.raises(BrokerUnreachable, match=line):
        probe_broker(address, timeout_s=0.6)


GARBAGE = [
    b"\xff" * 64,
    b"\x30\x00",  # PUBLISH without a topic
    b"\x30\x05\x00\xff\x61\x62\x63",  # a topic longer than its packet
    b"\x30\x05\x00\x01\x61\xff\x00",  # properties that do not end
    b"\x30\xff\xff\xff\x7f",  # 268 MB announced, nothing sent
    b"\x30\xff\xff\xff\xff\xff",  # a length of too many bytes
    b"\x40\x02\xff\xff",  # PUBACK for a message never sent
    b"\x40\x03\x00\x01\x05",  # PUBACK with a reason that does not exist
    b"\x90\x03\x00\x01\x00",  # SUBACK for nothing
    b"\xe0\x01\x42",  # DISCONNECT with an unknown reason
    b"\x50\x02\x00\x01",  # PUBREC without QoS 2
    b"\x62\x02\x00\x01",  # PUBREL without QoS 2
    b"\x20\x03\x00\x00\x00",  # a second CONNACK
    b"\x32\x07\x00\x02\xff\xfe\x00\x01\x00",  # a topic that is not UTF-8
]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_bytes_from_the_network_end_the_link(until: Until) -> None:
    sent = iter(GARBAGE)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"\x20\x03\x00\x00\x00")
        connection.sendall(next(sent, b""))
        time.sleep(0.05)

    with listening(answer) as address, opened(address, "device") as device:
        device.publish("single", b"x")
        device.publish_bulk([("chunk", b"x")], tag="t")
        device.subscribe("#")
        device.start()
        for _ in range(len(GARBAGE) + 1):
            until(device, is_up)
        until(device, is_down)


def test_an_inbox_full_of_qos_0_stops_the_reading_and_loses_nothing(
    real: World, until: Until
) -> None:
    sender = real.started("sender")
    with opened(real.broker.address, "r", limits=LinkLimits(inbox_messages=20)) as receiver:
        receiver.subscribe("n")
        receiver.start()
        until(receiver, is_up)
        real.settle(receiver)
        for number in range(300):
            sender.publish("n", b"%d" % number, qos=0)
        real.settle(sender)
        time.sleep(0.2)
        assert receiver.traffic.received_messages < 60
        events = until(receiver, lambda event: getattr(event, "payload", b"") == b"299")
        assert [event.payload for event in events if isinstance(event, Message)] == [
            b"%d" % number for number in range(300)
        ]


def configured(mosquitto: Path, directory: Path, *lines: str) -> Iterator[BrokerAddress]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = BrokerAddress("127.0.0.1", probe.getsockname()[1])
    user = ["user root"] if os.geteuid() == 0 else []
    configuration = directory / "own.conf"
    configuration.write_text(
        "\n".join([f"listener {address.port} 127.0.0.1", *user, *lines]) + "\n"
    )
    with (directory / "own.log").open("wb") as log:
        broker = subprocess.Popen(
            [mosquitto, "-c", configuration], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 10.0
        while True:
            try:
                socket.create_connection((address.host, address.port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (directory / "own.log").read_text()
                time.sleep(0.01)
        yield address
    finally:
        broker.terminate()
        broker.wait()


@pytest.fixture
def guarded(mosquitto: Path, tmp_path: Path) -> Iterator[BrokerAddress]:
    """A broker with passwords and access rules; the address is device a's."""
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run(["mosquitto_passwd", "-b", passwords, "a", "s3cret/@#"], check=True)
    rules = tmp_path / "rules"
    rules.write_text("user a\ntopic readwrite own/#\n")
    for address in configured(
        mosquitto,
        tmp_path,
        "allow_anonymous false",
        f"password_file {passwords}",
        f"acl_file {rules}",
    ):
        yield BrokerAddress(address.host, address.port, username="a", password="s3cret/@#")


def test_a_right_password_opens_and_what_the_rules_forbid_is_reported(
    guarded: BrokerAddress, until: Until
) -> None:
    with opened(BrokerAddress.parse(guarded.url), "a") as device:
        device.start()
        until(device, is_up)
        device.publish("other/status", b"x")
        device.publish_bulk([("other/c", b"x")], tag="t")
        device.publish("own/status", b"x")
        device.publish_bulk([("own/c", b"x")], tag="u")
        events = until(device, lambda event: event == BulkDone("u"))
        assert [event for event in events if isinstance(event, Refused)] == [
            Refused("other/status", "Not authorized"),
            Refused("other/c", "Not authorized", "t"),
        ]


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_is_told_at_once_and_never_shown(
    guarded: BrokerAddress, password: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    address = BrokerAddress(guarded.host, guarded.port, username="a", password=password)
    with opened(address, "a") as device:
        began = time.monotonic()
        device.start()
        with pytest.raises(BrokerUnreachable) as caught:
            device.wait_until_up(30.0)
    assert time.monotonic() - began < 5.0
    assert "password" in str(caught.value)
    assert "wrong" not in str(caught.value) + caplog.text + repr(device) + repr(address)


@pytest.fixture
def certified(mosquitto: Path, tmp_path: Path) -> Iterator[tuple[BrokerAddress, Path]]:
    """A broker that speaks TLS, and the certificate to trust it by."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    for address in configured(
        mosquitto,
        tmp_path,
        "allow_anonymous true",
        f"certfile {certificate}",
        f"keyfile {key}",
    ):
        yield BrokerAddress.parse(f"mqtts://127.0.0.1:{address.port}"), certificate


def test_tls_carries_large_messages_both_ways(
    certified: tuple[BrokerAddress, Path], until: Until
) -> None:
    address, certificate = certified
    with opened(address, "device", ca_file=certificate) as device:
        device.subscribe("c/#")
        device.start()
        chunks = [(f"c/{i}", bytes([i]) * 200_000) for i in range(20)]
        device.publish_bulk(chunks, tag="t")
        events = until(device, lambda event: getattr(event, "topic", "") == "c/19")
        assert [(e.topic, e.payload) for e in events if isinstance(e, Message)] == chunks


def test_a_broker_that_is_not_trusted_is_named_as_that(
    certified: tuple[BrokerAddress, Path],
) -> None:
    address, certificate = certified
    with pytest.raises(BrokerUnreachable, match="ca_file"):
        probe_broker(address, timeout_s=5.0)
    elsewhere = BrokerAddress("127.0.0.1", address.port)
    with pytest.raises(BrokerUnreachable, match="mqtts://"):
        probe_broker(elsewhere, timeout_s=0.5)
    missing = MqttOptions(ca_file=certificate.with_name("nowhere.pem"))
    with pytest.raises(BrokerUnreachable, match="TLS file does not exist"):
        probe_broker(address, timeout_s=5.0, options=missing)
