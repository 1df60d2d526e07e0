"""Loading beside the main thread: systemd hears of it, faults come through, signals end it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfedfrz_edge.loading import load_beside
from pfedfrz_transport import ServiceManager

HANGS = """
import signal, sys, threading, time
from pfedfrz_edge.loading import load_beside
from pfedfrz_transport import ServiceManager
if sys.argv[1] == "handled":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
def load():
    print("loading", flush=True)
    threading.Event().wait()
load_beside(ServiceManager(), "loading", load)
"""


class Told:
    """A service manager that counts, and a load that ends when it has heard enough."""

    def __init__(self, turns: int) -> None:
        self.is_enough = threading.Event()
        self.turns = 0
        self._wanted = turns
        self.now_s = 0.0

    def take_long_to_start(self) -> None:
        assert self.turns == 0

    def turn(self, status: str) -> None:
        assert status == "loading"
        self.turns += 1
        if self.turns >= self._wanted:
            self.is_enough.set()

    longest_wait_s = 0.001

    def clock(self) -> float:
        self.now_s += 600.0
        if self.now_s > 10_000:
            self.is_enough.set()
        return self.now_s


def test_what_is_loaded_comes_back_and_systemd_hears_of_every_turn() -> None:
    told = Told(5)

    def load() -> str:
        assert threading.current_thread() is not threading.main_thread()
        assert told.is_enough.wait(30)
        return "loaded"

    assert load_beside(told, "loading", load) == "loaded"  # type: ignore[arg-type]
    assert told.turns >= 5


def test_what_takes_longer_than_an_hour_is_no_longer_spoken_for() -> None:
    told = Told(10_000)
    load_beside(told, "loading", lambda: told.is_enough.wait(30), clock=told.clock)  # type: ignore[arg-type]
    assert told.is_enough.is_set()
    assert told.turns == 5  # of ten minutes each


def test_a_fault_comes_through_and_the_signals_are_as_they_were() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    fault = ValueError("no such column")

    def load() -> None:
        raise fault

    with pytest.raises(ValueError, match="no such column") as caught:
        load_beside(ServiceManager(), "loading", load)
    assert caught.value is fault
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(tmp_path / "notify"))
        own.settimeout(10)
        yield own


def test_before_it_is_ready_systemd_is_asked_for_time_and_then_the_watchdog_is_fed(
    systemd: socket.socket,
) -> None:
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000"}
    manager = ServiceManager(environment)
    heard = list[str]()

    def load() -> None:
        heard.append(systemd.recv(4096).decode())

    load_beside(manager, "loading", load)
    assert heard[0].split("\n") == [
        "STATUS=loading", "EXTEND_TIMEOUT_USEC=60000000", "WATCHDOG=1"]  # fmt: skip
    manager.ready()
    manager.turn("connected")
    while "READY=1" not in systemd.recv(4096).decode():
        pass
    load_beside(manager, "loading", lambda: [load() for _ in range(3)])
    assert heard[1].split("\n")[0] == "STATUS=loading"
    assert heard[2:] == ["WATCHDOG=1", "WATCHDOG=1"]


@pytest.mark.parametrize("handlers", ["default", "handled"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_while_it_loads_the_process_ends_at_once(
    number: signal.Signals, handlers: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, handlers], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(30) == -number
    assert time.monotonic() - began < 4
