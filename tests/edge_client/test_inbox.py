"""What a device makes of messages: whose they are, what they say, and when they count."""

import logging
from pathlib import Path

import pytest
from identities import COORDINATOR, key_of, signed

from pfedfrz_edge.inbox import Heard, Inbox
from pfedfrz_edge.session_exchange import ChunkSeen, CommandSeen, ControlSeen
from pfedfrz_edge.trust import CoordinatorTrust
from pfedfrz_protocol import (
    Control,
    CoordinatorStatus,
    DesiredState,
    Grant,
    Presence,
    Topics,
)
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

TOPICS = Topics("lab")
STOP = Control(DesiredState.STOP, 1)
STATUS = CoordinatorStatus(Presence.ONLINE, "ab" * 32, 1, key_of(COORDINATOR).public)


def inbox(folder: Path, key: str | None = None) -> Inbox:
    return Inbox(TOPICS, "me", CoordinatorTrust(folder, "lab", key))


def hear(mine: Inbox, topic: str, payload: bytes, retained: bool = False) -> list[Heard]:
    return list(mine.hear(Message(topic, payload, retained)))


def test_every_kind_of_message_is_what_the_session_knows_it_as(tmp_path: Path) -> None:
    mine = inbox(tmp_path, key_of(COORDINATOR).public)
    control = signed(STOP, TOPICS.control, COORDINATOR)
    assert hear(mine, TOPICS.control, control, True) == [ControlSeen(STOP, True)]
    topic = TOPICS.device("me", "command")
    assert hear(mine, topic, signed(Grant(1, 1), topic, COORDINATOR)) == [CommandSeen(Grant(1, 1))]
    assert hear(mine, TOPICS.model_chunk(3, 2), b"chunk") == [ChunkSeen(3, 2, b"chunk")]
    assert hear(mine, TOPICS.control, b"") == []
    assert hear(mine, "lab/of/nobody", b"x") == []


def test_what_came_before_the_status_counts_once_its_key_is_trusted(tmp_path: Path) -> None:
    mine = inbox(tmp_path)
    control = signed(STOP, TOPICS.control, COORDINATOR)
    assert hear(mine, TOPICS.control, control, True) == []
    status = signed(STATUS, TOPICS.coordinator_status, COORDINATOR)
    assert hear(mine, TOPICS.coordinator_status, status) == [ControlSeen(STOP, True)]
    assert hear(mine, TOPICS.coordinator_status, status) == []


def test_a_flood_of_strange_messages_is_no_flood_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = inbox(tmp_path, key_of(COORDINATOR).public)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            assert hear(mine, TOPICS.control, signed(STOP, TOPICS.control, "stranger")) == []
    assert len(caplog.records) == 7
    assert "ignored a message on" in caplog.text


def test_a_subscribed_device_hears_what_the_broker_holds(tmp_path: Path) -> None:
    broker = MemoryBroker()
    mine, link, other = inbox(tmp_path), MemoryLink(broker, "me"), MemoryLink(broker, "other")
    mine.subscribe(link)
    link.start()
    other.start()
    wanted = {TOPICS.coordinator_status, TOPICS.round, TOPICS.control}
    for topic in (*wanted, TOPICS.bundle):
        other.publish_retained(topic, b"x")
    heard = set[str]()
    while (event := link.poll(0)) is not None:
        if isinstance(event, Message):
            heard.add(event.topic)
    assert heard == wanted
    for each in (link, other):
        each.close(timeout_s=0)
