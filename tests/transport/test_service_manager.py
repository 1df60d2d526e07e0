"""What systemd is told, received on a socket as systemd's own."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfedfrz_transport import ServiceManager


class Systemd:
    """The other end: a datagram socket and the clock of the service."""

    def __init__(self, name: str) -> None:
        self.own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.own.bind("\0" + name[1:] if name.startswith("@") else name)
        self.own.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": name}
        self.now_s = 100.0

    def service(self, **more: str) -> ServiceManager:
        return ServiceManager({**self.environment, **more}, clock=lambda: self.now_s)

    def heard(self) -> list[str]:
        said = []
        while True:
            try:
                said += self.own.recv(4096).decode().split("\n")
            except BlockingIOError:
                return said


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    name = str(tmp_path / "notify")
    made = Systemd(name if request.param == "path" else f"@pfedfrz-{os.getpid()}{name[-60:]}")
    yield made
    made.own.close()


def test_ready_is_said_once_and_a_status_when_it_changes(systemd: Systemd) -> None:
    service = systemd.service()
    service.turn("no broker")
    assert systemd.heard() == ["STATUS=no broker"]
    service.ready()
    service.turn("connected")
    assert systemd.heard() == ["READY=1", "STATUS=connected"]
    service.ready()
    service.turn("connected")
    assert systemd.heard() == []
    service.stopping()
    assert systemd.heard() == ["STOPPING=1"]


def test_the_watchdog_is_fed_three_times_in_its_period_and_by_turns_alone(systemd: Systemd) -> None:
    service = systemd.service(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    assert service.longest_wait_s == 10.0
    service.turn("on")
    assert systemd.heard() == ["STATUS=on", "WATCHDOG=1"]
    systemd.now_s += 9.9
    service.ready()
    service.turn("on")
    assert systemd.heard() == ["READY=1"]
    systemd.now_s += 0.1
    assert systemd.heard() == []
    service.turn("on")
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_watchdog_of_ours_is_not_fed(systemd: Systemd, watchdog: dict[str, str]) -> None:
    service = systemd.service(**watchdog)
    assert service.longest_wait_s == math.inf
    for _ in range(3):
        systemd.now_s += 1e6
        service.turn("on")
    assert systemd.heard() == ["STATUS=on"]


def test_a_long_start_asks_for_time_until_it_is_ready_and_for_an_hour_at_most(
    systemd: Systemd,
) -> None:
    service = systemd.service(WATCHDOG_USEC="600000000")
    assert service.longest_wait_s == 200.0
    service.take_long_to_start()
    assert service.longest_wait_s == 20.0
    service.turn("loading")
    more = "EXTEND_TIMEOUT_USEC=60000000"
    assert systemd.heard() == ["STATUS=loading", more, "WATCHDOG=1"]
    systemd.now_s += 19.9
    service.turn("loading")
    assert systemd.heard() == []
    asked = 1
    for _ in range(1000):
        systemd.now_s += 10.0
        service.take_long_to_start()  # as for the second thing that is loaded
        service.turn("loading")
        asked += systemd.heard().count(more)
    assert asked == 3600 // 20
    service.ready()
    service.turn("connected")
    assert systemd.heard()[0] == "READY=1"
    assert service.longest_wait_s == 200.0


def test_a_service_that_is_ready_asks_for_no_time(systemd: Systemd) -> None:
    service = systemd.service()
    service.ready()
    service.turn("connected")
    systemd.heard()
    service.take_long_to_start()
    service.turn("loading")
    assert systemd.heard() == ["STATUS=loading"]
    assert service.longest_wait_s == math.inf


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1234"])
def test_without_a_socket_nothing_is_sent_and_no_wait_is_shortened(name: str) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"})
    service.ready()
    service.turn("connected")
    service.stopping()
    assert service.longest_wait_s == math.inf


def test_a_status_is_one_short_line(systemd: Systemd) -> None:
    systemd.service().turn("one\nREADY=1\x00" + "x" * 4000)
    (said,) = systemd.heard()
    assert said == "STATUS=one READY=1 " + "x" * 188


def test_what_systemd_did_not_hear_is_said_again_and_logged_once(
    systemd: Systemd, caplog: pytest.LogCaptureFixture
) -> None:
    service = systemd.service(WATCHDOG_USEC="30000000")
    address = systemd.own.getsockname()
    systemd.own.close()
    if not isinstance(address, bytes):
        Path(address).unlink()
    service.ready()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            service.turn("connected")
    assert len(caplog.records) == 1
    systemd.own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.own.bind(address)
    systemd.own.setblocking(False)
    service.turn("connected")
    assert systemd.heard() == ["READY=1", "STATUS=connected", "WATCHDOG=1"]
