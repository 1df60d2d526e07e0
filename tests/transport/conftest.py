"""Worlds to connect links in: the in-memory broker, and real brokers on a loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pfedfrz_emulator.brokers import RunningBroker, find_mosquitto, has_iotcore, start_broker
from pfedfrz_transport import (
    BackoffPolicy,
    Link,
    LinkEvent,
    LinkLimits,
    LinkUp,
    MemoryBroker,
    MemoryLink,
    Message,
    MqttLink,
    MqttOptions,
    Will,
)

PATIENCE_S = 10.0

_VICTIM = """
import sys, time
from pfedfrz_transport import BrokerAddress, MqttLink, Will
url, client_id, topic, payload = sys.argv[1:]
link = MqttLink(BrokerAddress.parse(url), client_id, will=Will(topic, payload.encode()))
link.start()
link.wait_until_up(10)
print("up", flush=True)
time.sleep(60)
"""


def quick_options(limits: LinkLimits | None = None, receive_maximum: int = 64) -> MqttOptions:
    """Options of a link that comes back quickly, for tests of coming back."""
    return MqttOptions(
        backoff=BackoffPolicy(first_s=0.02, longest_s=0.1),
        limits=limits or LinkLimits(),
        receive_maximum=receive_maximum,
    )


def poll_until(link: Link, wanted: Callable[[LinkEvent], bool]) -> list[LinkEvent]:
    """The events up to and including the first wanted one; fails after a while without it."""
    events: list[LinkEvent] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        event = link.poll(0.1)
        if event is not None:
            events.append(event)
            if wanted(event):
                return events
    pytest.fail(f"waited in vain; came: {[repr(event)[:80] for event in events[-20:]]}")


class World(ABC):
    """A broker, the links to it, and what can happen to them."""

    name: str

    def __init__(self) -> None:
        self.closing = ExitStack()

    def started(
        self,
        client_id: str,
        *filters: str,
        will: Will | None = None,
        limits: LinkLimits | None = None,
        receive_maximum: int = 64,
    ) -> Link:
        """A link that is up and has its subscriptions; `LinkUp` is taken."""
        link = self.link(client_id, will=will, limits=limits, receive_maximum=receive_maximum)
        for topic_filter in filters:
            link.subscribe(topic_filter)
        link.start()
        link.wait_until_up(PATIENCE_S)
        poll_until(link, lambda event: isinstance(event, LinkUp))
        if filters:
            self.settle(link, hears_all="#" in filters)
        return link

    def settle(self, link: Link, *, hears_all: bool = False) -> list[LinkEvent]:
        """Wait until the broker has seen all that the link asked for; the events until then.

        `LinkUp` alone does not say that: another client's message may overtake a subscription.
        """
        topic = f"settle/{link.client_id}"
        if not hears_all:  # overlapping subscriptions make some brokers deliver twice
            link.subscribe(topic)
        link.publish(topic, b"")
        events = poll_until(link, lambda event: isinstance(event, Message) and event.topic == topic)
        if not hears_all:
            link.unsubscribe(topic)
        return events[:-1]

    def link(
        self,
        client_id: str,
        *,
        will: Will | None = None,
        limits: LinkLimits | None = None,
        receive_maximum: int = 64,
    ) -> Link:
        """A link that is closed with the world."""
        link = self._make(client_id, will, limits, receive_maximum)
        self.closing.callback(link.close, timeout_s=0.0)
        return link

    @abstractmethod
    def _make(
        self, client_id: str, will: Will | None, limits: LinkLimits | None, receive_maximum: int
    ) -> Link: ...

    @abstractmethod
    def kill_broker(self) -> None:
        """The broker dies at once and forgets everything."""

    @abstractmethod
    def start_broker(self) -> None:
        """It runs again, at the same address."""

    @abstractmethod
    def die(self, client_id: str, will: Will) -> None:
        """A client with this will connects, and its process is killed."""


class MemoryWorld(World):
    name = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()

    def _make(
        self, client_id: str, will: Will | None, limits: LinkLimits | None, receive_maximum: int
    ) -> Link:
        return MemoryLink(
            self.broker, client_id, will=will, limits=limits, receive_maximum=receive_maximum
        )

    def kill_broker(self) -> None:
        self.broker.stop()

    def start_broker(self) -> None:
        self.broker.start()

    def die(self, client_id: str, will: Will) -> None:
        self.started(client_id, will=will)
        self.broker.kill(client_id)


class MqttWorld(World):
    def __init__(self, name: str, directory: Path) -> None:
        super().__init__()
        self.name = name
        self.directory = directory
        self.broker: RunningBroker = start_broker(name, directory)
        self.closing.callback(lambda: self.broker.stop())

    def _make(
        self, client_id: str, will: Will | None, limits: LinkLimits | None, receive_maximum: int
    ) -> Link:
        options = quick_options(limits, receive_maximum)
        return MqttLink(self.broker.address, client_id, will=will, options=options)

    def kill_broker(self) -> None:
        self.broker.kill()

    def start_broker(self) -> None:
        self.broker = start_broker(self.name, self.directory, port=self.broker.address.port)

    def die(self, client_id: str, will: Will) -> None:
        arguments = [self.broker.url, client_id, will.topic, will.payload.decode()]
        with subprocess.Popen(
            [sys.executable, "-c", _VICTIM, *arguments], stdout=subprocess.PIPE
        ) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"up\n"
            victim.kill()


def missing(what: str) -> None:
    """Skip the test for want of something; fail it where skipping is forbidden."""
    if os.environ.get("PFEDFRZ_FORBID_SKIP") == "1":
        pytest.fail(f"{what} is missing, and PFEDFRZ_FORBID_SKIP=1")
    pytest.skip(f"{what} is not installed")


@pytest.fixture
def mosquitto() -> Path:
    """The Mosquitto executable."""
    found = find_mosquitto()
    if found is None:
        missing("mosquitto")
    assert found is not None
    return found


@pytest.fixture(params=["memory", "mosquitto", "iotcore"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each kind of broker in turn."""
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto")
    if request.param == "iotcore" and not has_iotcore():
        missing("iotcore")
    world = MemoryWorld() if request.param == "memory" else MqttWorld(request.param, tmp_path)
    with world.closing:
        yield world


@pytest.fixture
def real(mosquitto: Path, tmp_path: Path) -> Iterator[MqttWorld]:
    """Mosquitto alone."""
    world = MqttWorld("mosquitto", tmp_path)
    with world.closing:
        yield world


@pytest.fixture
def until() -> Callable[[Link, Callable[[LinkEvent], bool]], list[LinkEvent]]:
    """`poll_until`, for tests that cannot import this file."""
    return poll_until
