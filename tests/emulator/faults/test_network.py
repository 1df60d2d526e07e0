"""The emulated network with real sockets: what goes in comes out, late, held or cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from pfedfrz_emulator.faults import EmulatedNetwork, LinkConditions
from pfedfrz_transport import BrokerAddress

PATIENCE_S = 20.0


class Echo:
    """Says everything back."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = BrokerAddress("127.0.0.1", self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                end, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    @staticmethod
    def _serve(end: socket.socket) -> None:
        with end:
            try:
                while data := end.recv(65536):
                    end.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def network(echo: Echo, stack: ExitStack, **links: LinkConditions) -> EmulatedNetwork:
    return stack.enter_context(EmulatedNetwork(echo.address, links, 0))


def connect(net: EmulatedNetwork, name: str, stack: ExitStack) -> socket.socket:
    port = urlsplit(net.url(name)).port
    end = stack.enter_context(socket.create_connection(("127.0.0.1", port or 0)))
    end.settimeout(PATIENCE_S)
    return end


def receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += end.recv(65536)
    return data


def test_bytes_go_both_ways_unchanged(echo: Echo, stack: ExitStack) -> None:
    bad = LinkConditions(bytes_s=1e6, latency_s=0.01, jitter_s=0.01, loss=0.01)
    net = network(echo, stack, plain=LinkConditions(), bad=bad)
    data = bytes(range(256)) * 400
    for name in ("plain", "bad"):
        end = connect(net, name, stack)
        sender = threading.Thread(target=end.sendall, args=(data,))
        sender.start()
        assert receive(end, len(data)) == data
        sender.join()


def test_a_bad_link_takes_the_time_that_it_should(echo: Echo, stack: ExitStack) -> None:
    net = network(echo, stack, bad=LinkConditions(bytes_s=32_000, latency_s=0.2))
    end = connect(net, "bad", stack)
    began = time.monotonic()
    end.sendall(b"x" * 32_000)
    receive(end, 32_000)
    took_s = time.monotonic() - began
    assert 1.4 <= took_s < 4.0, "a second of bandwidth and two latencies"


def test_a_partition_holds_bytes_and_connections_and_then_lets_them_through(
    echo: Echo, stack: ExitStack
) -> None:
    net = network(echo, stack, a=LinkConditions(), b=LinkConditions())
    a, b = connect(net, "a", stack), connect(net, "b", stack)
    for end in (a, b):
        end.sendall(b"before")
        assert receive(end, 6) == b"before"
    net.hold(["a"])
    a.sendall(b"during")
    new = connect(net, "a", stack)
    new.sendall(b"new")
    b.sendall(b"during")
    assert receive(b, 6) == b"during"
    for end in (a, new):
        end.settimeout(0.3)
        with pytest.raises(TimeoutError):
            end.recv(1)
        end.settimeout(PATIENCE_S)
    net.release(["a"])
    assert receive(a, 6) == b"during"
    assert receive(new, 3) == b"new"


def test_cuts_reset_connections_and_are_counted(echo: Echo, stack: ExitStack) -> None:
    net = network(echo, stack, bad=LinkConditions(cut_every_s=0.2))
    end = connect(net, "bad", stack)

    def talk() -> None:
        while True:
            end.sendall(b"x")
            end.recv(1)

    with pytest.raises(ConnectionResetError):
        talk()
    assert net.cuts >= 1


def test_a_broker_that_is_away_is_a_connection_that_ends(echo: Echo, stack: ExitStack) -> None:
    net = network(echo, stack, a=LinkConditions())
    echo.close()
    try:
        end = connect(net, "a", stack)
        assert end.recv(1) == b""
    except ConnectionResetError:
        pass
    finally:
        echo._server = socket.create_server(("127.0.0.1", 0))
