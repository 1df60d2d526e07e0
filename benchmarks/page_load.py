"""What the page costs: a browser and its server while a large federation speaks.

    python benchmarks/page_load.py                  # 1,000 devices, 50 messages a second, 600 s
    python benchmarks/page_load.py --seconds 60
    python benchmarks/page_load.py --before 65      # after so many rounds all bounds are reached

A process of its own speaks for all members over a real Mosquitto: signed progress, reports,
verdicts and the ends of rounds. Chromium shows the page in a window so high that every panel is in
sight. Shares are of one core, read from /proc for the browser's processes together and for the
monitor with its server; memory is what processes hold for themselves (USS), and the heap of the
page's JavaScript after a collection.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import numpy as np
import psutil
from playwright.sync_api import CDPSession, Page, sync_playwright

from pfedfrz_emulator.brokers import start_broker
from pfedfrz_monitor.settings import MonitorSettings, WebSettings
from pfedfrz_monitor.watch import Watch, open_watch
from pfedfrz_monitor.web import PageServer
from pfedfrz_protocol import (
    Accepted,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    LocalReport,
    ModelReference,
    PhaseProgress,
    Presence,
    Purpose,
    RoundAnnouncement,
    RoundMetrics,
    SigningKey,
    Topics,
    TrainableSet,
    TransferReference,
    UpdateReady,
    sign_message,
)
from pfedfrz_transport import BrokerAddress, MqttLink

FEDERATION = "load"
DIGEST = "0" * 64
TRANSFER = TransferReference(10, DIGEST)
QUICK = 1500.0
"""Messages a second in the rounds before it begins."""
PER_DEVICE = 4
"""Messages of a device and about it in a round."""


class Members:
    """Everybody of a federation, over one link."""

    def __init__(self, url: str, devices: int) -> None:
        self.topics = Topics(FEDERATION)
        self.names = [f"board-{number:04d}" for number in range(devices)]
        self.keys = {name: SigningKey.generate() for name in self.names}
        self.own = SigningKey.generate()
        self.random = np.random.default_rng(0)
        self.link = MqttLink(BrokerAddress.parse(url), "members")

    def coordinator(self, topic: str, message: msgspec.Struct) -> None:
        payload = sign_message(message, topic, self.own)
        (self.link.publish if topic.endswith("/command") else self.link.publish_retained)(
            topic, payload
        )

    def device(self, name: str, leaf: str, message: msgspec.Struct) -> None:
        topic = self.topics.device(name, leaf)
        payload = sign_message(message, topic, self.keys[name])
        (self.link.publish_retained if leaf == "status" else self.link.publish)(topic, payload)

    def arrive(self) -> None:
        topics = self.topics
        status = CoordinatorStatus(Presence.ONLINE, DIGEST, 1, self.own.public)
        self.coordinator(topics.coordinator_status, status)
        self.coordinator(topics.control, Control(DesiredState.RUN, 1))
        for name in self.names:
            counts = tuple(
                int(n) for n in self.random.multinomial(300, self.random.dirichlet([0.3] * 10))
            )
            status_ = DeviceStatus(
                Presence.ONLINE, "boot", DIGEST, "onnxruntime", 300, self.keys[name].public,
                label_counts=counts,
            )  # fmt: skip
            self.device(name, "status", status_)

    def speak(self, rate: float, before: int, warm: Event, stop: Event) -> None:
        """Rounds of all devices, `rate` messages a second, until `stop`; the first ones quicker."""
        wanted, number = rate, 0
        while not stop.is_set():
            number += 1
            due, rate = time.monotonic(), QUICK if number <= before else wanted
            if number > before:
                warm.set()
            model = ModelReference(number - 1, DIGEST, TRANSFER)
            announcement = RoundAnnouncement(
                number, 1, DIGEST, Purpose.TRAIN, model, tuple(self.names), 3600.0
            )
            self.coordinator(self.topics.round, announcement)
            for name in self.random.permutation(self.names).tolist():
                for message in range(PER_DEVICE):
                    due += 1 / rate
                    time.sleep(max(0.0, due - time.monotonic()))
                    if stop.is_set():
                        return
                    self.part(name, number, message)
            norms = {name: float(self.random.lognormal(0, 0.2)) for name in self.names}
            cosines = {name: float(self.random.uniform(-0.9, 0.9)) for name in self.names}
            many = len(self.names)
            metrics = RoundMetrics(
                number, Purpose.TRAIN, number - 1, many, many, {}, 0, 0.7, 0.9, 0.4, 10**8, 10**8,
                20.0, norms, update_cosines=cosines, train_s=400.0,
            )  # fmt: skip
            self.coordinator(self.topics.metrics, metrics)

    def part(self, name: str, number: int, message: int) -> None:
        if message < 2:
            progress = PhaseProgress(number, message, 2, TrainableSet.ALL, 0, 1, 0.5)
            self.device(name, "event", progress)
        elif message == 2:
            received, local = (float(self.random.uniform(low, 0.99)) for low in (0.5, 0.8))
            report = LocalReport(300, received, local, 0.4, 210_000, 1.5, 0.2)
            self.device(name, "event", UpdateReady(number, 1, "boot", DIGEST, TRANSFER, report))
        else:
            self.coordinator(self.topics.device(name, "command"), Accepted(number, 1))


def speak(
    url: str, devices: int, rate: float, before: int, ready: Event, warm: Event, stop: Event
) -> None:
    """The process that speaks."""
    members = Members(url, devices)
    members.link.start()
    members.link.wait_until_up(10.0)
    members.arrive()
    ready.set()
    try:
        members.speak(rate, before, warm, stop)
    finally:
        members.link.close()


@dataclass(frozen=True)
class Reading:
    """CPU seconds since the start, and memory in bytes."""

    browser_s: float
    renderer_s: float
    server_s: float
    browser_bytes: int
    server_bytes: int
    heap_bytes: int
    messages: int


class Meter:
    """Reads what browser and server have used."""

    def __init__(self, session: CDPSession, browser_pid: int) -> None:
        self._session = session
        self._own = psutil.Process()
        self._root = psutil.Process(browser_pid)

    def read(self, messages: int) -> Reading:
        processes = [self._root, *self._root.children(recursive=True)]
        times, renderer, memory = 0.0, 0.0, 0
        for process in processes:
            used = process.cpu_times()
            times += used.user + used.system
            if "--type=renderer" in process.cmdline():
                renderer += used.user + used.system
            memory += process.memory_full_info().uss
        own = self._own.cpu_times()
        self._session.send("HeapProfiler.collectGarbage")
        heap = int(self._session.send("Runtime.getHeapUsage")["usedSize"])
        return Reading(
            times, renderer, own.user + own.system, memory,
            self._own.memory_full_info().uss, heap, messages,
        )  # fmt: skip


def browser_process() -> int:
    """The browser that this process has started, through Playwright's driver."""
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name() and not any("--type=" in word for word in process.cmdline()):
            return int(process.pid)
    raise SystemExit("error: no chromium among the child processes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--before", type=int, default=0, help="rounds that go quickly at first")
    parser.add_argument("--readings", type=int, default=6)
    parser.add_argument("--picture", type=Path, help="where to leave a picture of the page")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready, warm, stop = context.Event(), context.Event(), context.Event()
    with tempfile.TemporaryDirectory() as name, start_broker("mosquitto", Path(name)) as broker:
        speaker = context.Process(
            target=speak,
            args=(broker.url, chosen.devices, chosen.rate, chosen.before, ready, warm, stop),
        )
        speaker.start()
        if not ready.wait(60):
            raise SystemExit("error: the members did not come")
        watch = open_watch(MonitorSettings(FEDERATION, broker.url))
        watch.start()
        try:
            if not warm.wait(60 + chosen.before * chosen.devices * PER_DEVICE / QUICK * 3):
                raise SystemExit("error: the rounds before did not come to an end")
            with (
                PageServer(watch, WebSettings(listen="127.0.0.1:0")) as server,
                sync_playwright() as playwright,
            ):
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                page = browser.new_page(viewport={"width": 1440, "height": 2200})
                page.goto(server.url)
                page.wait_for_selector("html[data-ready]")
                session = page.context.new_cdp_session(page)
                meter = Meter(session, browser_process())
                page.wait_for_timeout(5000)
                measure(chosen, page, meter, watch)
                if chosen.picture:
                    page.screenshot(path=chosen.picture)
                browser.close()
        finally:
            stop.set()
            speaker.join(10)
            watch.close()


def measure(chosen: argparse.Namespace, page: Page, meter: Meter, watch: Watch) -> None:
    """Print a row for each stretch of the time."""

    def count() -> int:
        return watch.health.traffic.received_messages

    print(f"{platform.machine()}, {os.cpu_count()} cores, {chosen.devices} devices")
    print("   after  messages/s  browser  its page  monitor  browser's  monitor's   heap")
    before, at = meter.read(count()), time.monotonic()
    began = at
    for index in range(1, chosen.readings + 1):
        page.wait_for_timeout(
            max(0.0, began + index * chosen.seconds / chosen.readings - time.monotonic()) * 1000
        )
        now, passed = meter.read(count()), time.monotonic() - at
        print(
            f"{time.monotonic() - began:6.0f} s"
            f"{(now.messages - before.messages) / passed:12.1f}"
            f"{(now.browser_s - before.browser_s) / passed:9.1%}"
            f"{(now.renderer_s - before.renderer_s) / passed:10.1%}"
            f"{(now.server_s - before.server_s) / passed:9.1%}"
            f"{now.browser_bytes / 1e6:8.0f} MB{now.server_bytes / 1e6:8.0f} MB"
            f"{now.heap_bytes / 1e6:4.1f} MB",
            flush=True,
        )
        before, at = now, time.monotonic()


if __name__ == "__main__":
    main()
