import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from exposition import scrape
from prometheus_client import CollectorRegistry, Counter

from pfedfrz_coordinator import metrics_server
from pfedfrz_coordinator.metrics_policy import MetricsPolicy
from pfedfrz_coordinator.metrics_server import MetricsServer, require_prometheus_client
from pfedfrz_protocol import ConfigurationError

PATIENCE_S = 20.0


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("pfedfrz_things", "Things.", registry=registry).inc(3)
    return registry


@pytest.fixture
def server(registry: CollectorRegistry) -> Iterator[MetricsServer]:
    made = MetricsServer(MetricsPolicy("127.0.0.1:0"), registry)
    yield made
    made.close()


def test_whoever_asks_is_told(server: MetricsServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert scrape(server.url).value("things_total") == 3


def test_over_ipv6_too(registry: CollectorRegistry) -> None:
    server = MetricsServer(MetricsPolicy("[::1]:0"), registry)
    try:
        assert server.url.startswith("http://[::1]:")
        assert scrape(server.url).value("things_total") == 3
    finally:
        server.close()


def test_nothing_can_be_changed(server: MetricsServer) -> None:
    for method in ("POST", "PUT", "DELETE"):
        request = urllib.request.Request(server.url, data=b"x", method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=PATIENCE_S)
        assert refused.value.code == 405
        refused.value.close()


def test_a_port_in_use_is_one_line(server: MetricsServer, registry: CollectorRegistry) -> None:
    listen = server.url.removeprefix("http://").removesuffix("/metrics")
    with pytest.raises(ConfigurationError) as caught:
        MetricsServer(MetricsPolicy(listen), registry)
    text = str(caught.value)
    assert listen in text
    assert "Address already in use" in text
    assert "\n" not in text


@pytest.mark.parametrize("listen", ["192.0.2.1:9464", "no-such-host.invalid:9464", f"{'a' * 70}:1"])
def test_an_address_that_is_not_ours_is_one_line(listen: str, registry: CollectorRegistry) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MetricsServer(MetricsPolicy(listen), registry)
    assert listen in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_is_free_again_once_it_is_closed(registry: CollectorRegistry) -> None:
    first = MetricsServer(MetricsPolicy("127.0.0.1:0"), registry)
    scrape(first.url)
    listen = first.url.removeprefix("http://").removesuffix("/metrics")
    first.close()
    again = MetricsServer(MetricsPolicy(listen), registry)
    assert scrape(again.url).value("things_total") == 3
    again.close()


def test_clients_that_say_nothing_are_let_go_and_hold_nobody_up(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.2)
    server = MetricsServer(MetricsPolicy("127.0.0.1:0"), registry)
    host, port = server.url.removeprefix("http://").removesuffix("/metrics").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(20)]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert scrape(server.url).value("things_total") == 3
                break
            except (OSError, urllib.error.URLError):
                assert time.monotonic() < deadline
        for connection in silent:
            assert connection.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
        server.close()


def test_garbage_is_answered_and_ends_nothing(server: MetricsServer) -> None:
    host, port = server.url.removeprefix("http://").removesuffix("/metrics").split(":")
    for garbage in (b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000):
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
    assert scrape(server.url).value("things_total") == 3


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "find_spec", lambda name: None)
    require_prometheus_client(MetricsPolicy())
    with pytest.raises(ConfigurationError, match=r"pip install 'pfedfrz\[metrics\]'"):
        require_prometheus_client(MetricsPolicy("127.0.0.1:0"))


def test_who_is_not_measured_needs_no_package() -> None:
    """A board that coordinates has no prometheus_client: importing the process must not want it."""
    script = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import pfedfrz_coordinator.process, pfedfrz_coordinator.metrics_server\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
