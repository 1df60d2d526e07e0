"""What a device says, and that a link which takes nothing more does not end it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from identities import identity_of
from tiny_bundle import make_bundle

from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.publisher import DevicePublisher, device_will
from pfedfrz_edge.session_exchange import Upload
from pfedfrz_protocol import (
    CHUNK_BYTES,
    DeviceStatus,
    Heartbeat,
    Presence,
    RoundFailed,
    Topics,
    open_message,
)
from pfedfrz_transport import LinkLimits, MemoryBroker, MemoryLink, Message

TOPICS = Topics("lab")
BUNDLE = make_bundle()
SETTINGS = DeviceSettings("lab", "me", Path("b.pfz"), Path("state"), DataSettings("x.npz"))
FAILED = RoundFailed(1, 1, "boot", "x")


class Pair:
    """A device's publisher, and an ear on everything that it may say."""

    def __init__(self, limits: LinkLimits | None = None) -> None:
        broker = MemoryBroker()
        self.ear = MemoryLink(broker, "ear")
        for leaf in ("status", "heartbeat", "event"):
            self.ear.subscribe(TOPICS.every_device(leaf))
        self.ear.subscribe(TOPICS.every_update_chunk)
        self.ear.start()
        self.link = MemoryLink(broker, "me", limits=limits or LinkLimits())
        self.publisher = DevicePublisher(SETTINGS, BUNDLE, "boot", identity_of("me"), self.link)

    def heard(self) -> list[Message]:
        found = list[Message]()
        while (event := self.ear.poll(0)) is not None:
            if isinstance(event, Message):
                found.append(event)
        return found

    def close(self) -> None:
        for link in (self.link, self.ear):
            link.close(timeout_s=0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    made.link.start()
    yield made
    made.close()


def test_what_is_waited_for_is_said_of_a_device_that_waits_only(pair: Pair) -> None:
    for presence, said in (
        (Presence.WAITING, "mains"),
        (Presence.ONLINE, ""),
        (Presence.OFFLINE, ""),
    ):
        pair.publisher.status(presence, 7, "mains")
        (message,) = pair.heard()
        status = open_message(message.payload, DeviceStatus)
        assert (status.presence, status.samples, status.waiting_for) == (presence, 7, said)


def test_heartbeats_and_events_come_on_the_topics_of_the_device(pair: Pair) -> None:
    pair.publisher.heartbeat("idle", 3, 2.5)
    assert pair.publisher.event(FAILED)
    beat, event = pair.heard()
    assert beat.topic == TOPICS.device("me", "heartbeat")
    assert open_message(beat.payload, Heartbeat) == Heartbeat("boot", "idle", 3, 2.5)
    assert event.topic == TOPICS.device("me", "event")
    assert open_message(event.payload, RoundFailed) == FAILED


def test_the_chunks_that_are_wanted_go_up_and_no_others(pair: Pair) -> None:
    payload = bytes(2 * CHUNK_BYTES) + b"end"
    pair.publisher.upload(Upload(4, payload, (2,)))
    (message,) = pair.heard()
    assert message.topic == TOPICS.update_chunk("me", 4, 2)
    assert message.payload == b"end"


def test_a_full_queue_is_said_seldom_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair(LinkLimits(queued_messages=1, bulk_bytes=10))
    with caplog.at_level(logging.WARNING):  # the link was never started: nothing drains
        assert pair.publisher.event(FAILED)
        assert not any(pair.publisher.event(FAILED) for _ in range(100))
        assert [r.getMessage().partition(":")[0] for r in caplog.records] == [
            f"a message was not sent ({count} so far)" for count in (1, 2, 4, 8, 16, 32, 64)
        ]
        pair.publisher.upload(Upload(4, bytes(1000), (0,)))
    assert "the update of round 4 cannot be sent" in caplog.text
    pair.close()


def test_the_will_says_that_the_device_is_gone() -> None:
    will = device_will(SETTINGS, BUNDLE, "boot", identity_of("me"))
    assert will.topic == TOPICS.device("me", "status")
    assert open_message(will.payload, DeviceStatus).presence is Presence.OFFLINE
