"""A view kept up to date over a link, and requests that are answered or given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from identities import COORDINATOR, key_of, signed

from pfedfrz_monitor import FederationView
from pfedfrz_monitor.operator import Operator
from pfedfrz_monitor.watch import LiveWatch
from pfedfrz_protocol import (
    ConfigurationError,
    CoordinatorStatus,
    OperatorAnswer,
    OperatorRequest,
    Pause,
    Presence,
    Resume,
    Topics,
    open_signed,
)
from pfedfrz_transport import LinkOverflow, MemoryBroker, MemoryLink, Message

TOPICS = Topics("lab")


class Lab:
    """A broker with a coordinator that a test plays, and an operator's watch."""

    def __init__(self, *, operator: bool = True) -> None:
        self.broker = MemoryBroker()
        self.coordinator = MemoryLink(self.broker, "coordinator")
        self.coordinator.subscribe(TOPICS.every_operator("request"))
        self.coordinator.start()
        self.now = 0.0
        view = FederationView(TOPICS)
        link = MemoryLink(self.broker, "watcher", receive_maximum=1024)
        anna = (
            Operator("anna", key_of("anna"), view, link, clock=lambda: self.now)
            if operator
            else None
        )
        self.watch = LiveWatch(view, link, "memory", anna)
        self.watch.start()

    def say_presence(self, presence: Presence, federation: str = "lab") -> None:
        topic = Topics(federation).coordinator_status
        status = CoordinatorStatus(presence, "0" * 64, 7, key_of(COORDINATOR).public)
        self.coordinator.publish_retained(topic, signed(status, topic, COORDINATOR))

    def asked(self) -> OperatorRequest:
        """The next request that the coordinator hears."""
        topic = TOPICS.operator("anna", "request")
        while True:
            event = self.coordinator.poll(5.0)
            assert event is not None, "nothing was asked"
            if isinstance(event, Message):
                assert event.topic == topic
                return open_signed(
                    event.payload, OperatorRequest, topic, key_of("anna").public, "forged"
                )

    def answer(self, request: OperatorRequest, detail: str, name: str = COORDINATOR) -> None:
        topic = TOPICS.operator("anna", "answer")
        answer = OperatorAnswer(request.epoch, request.serial, True, detail)
        self.coordinator.publish(topic, signed(answer, topic, name))


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.watch.close()
    lab.coordinator.close()


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


def ready(lab: Lab) -> None:
    lab.say_presence(Presence.ONLINE)
    wait_for(lambda: lab.watch.health.heard)


def test_what_is_said_is_seen(lab: Lab) -> None:
    wait_for(lambda: lab.watch.health.connected)
    assert not lab.watch.health.heard
    ready(lab)
    with lab.watch.reading() as view:
        assert view.coordinator is not None
        assert view.coordinator.epoch == 7


def test_other_federations_of_the_broker_are_named(lab: Lab) -> None:
    lab.say_presence(Presence.ONLINE, "kitchen")
    wait_for(lambda: lab.watch.health.federations == ("kitchen",))
    assert not lab.watch.health.heard, "that is not the one that is watched"


def test_a_request_is_signed_and_its_answer_comes_back(lab: Lab) -> None:
    ready(lab)
    first = lab.watch.ask(Pause())
    request = lab.asked()
    assert (request.epoch, request.action) == (7, Pause())
    lab.answer(request, "forged", "a stranger")
    lab.answer(request, "paused after round 3")
    assert first.result(5).detail == "paused after round 3"
    second = lab.watch.ask(Resume())
    again = lab.asked()
    assert again.serial > request.serial
    lab.answer(again, "goes on")
    assert second.result(5).done


def test_a_request_without_an_answer_is_given_up(lab: Lab) -> None:
    ready(lab)
    answer = lab.watch.ask(Pause())
    lab.asked()
    lab.now = 11.0
    assert answer.result(5) == OperatorAnswer(
        0, 0, False,
        "no answer within 10 s: does the coordinator know the operator 'anna' by this key?",
    )  # fmt: skip


def test_nothing_is_asked_of_a_coordinator_that_is_away(lab: Lab) -> None:
    lab.say_presence(Presence.OFFLINE)
    wait_for(lambda: lab.watch.health.heard)
    assert lab.watch.ask(Pause()).result(5).detail == "the coordinator is away"
    lab.broker.drop("watcher", stay_away=True)
    wait_for(lambda: not lab.watch.health.connected)
    assert lab.watch.ask(Pause()).result(5).detail == "the broker is away"


def test_requests_under_way_end_with_the_watch(lab: Lab) -> None:
    ready(lab)
    answer: Future[OperatorAnswer] = lab.watch.ask(Pause())
    lab.asked()
    lab.watch.close()
    assert not answer.result(5).done


def test_who_only_watches_cannot_ask() -> None:
    lab = Lab(operator=False)
    with pytest.raises(ConfigurationError, match="this account only watches"):
        lab.watch.ask(Pause())
    assert not lab.watch.may_act
    lab.watch.close()
    lab.coordinator.close()


def test_who_stops_waiting_for_an_answer_does_not_end_the_watch(lab: Lab) -> None:
    ready(lab)
    left = lab.watch.ask(Pause())
    request = lab.asked()
    left.cancel()
    lab.answer(request, "paused")
    other = lab.watch.ask(Resume())
    lab.answer(lab.asked(), "goes on")
    assert other.result(5).done, "the watch's thread has ended"


def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    link = MemoryLink(MemoryBroker(), "watcher")
    anna = Operator("anna", key_of("anna"), FederationView(TOPICS), link)
    left = Future[OperatorAnswer]()
    left.cancel()
    anna.ask(Pause(), left)
    assert left.cancelled()


def test_a_request_without_room_on_its_way_is_answered_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(topic: str, payload: bytes, *, qos: int = 1) -> None:
        raise LinkOverflow("no room")

    ready(lab)
    with monkeypatch.context() as patched:
        patched.setattr(lab.watch.link, "publish", full)
        assert lab.watch.ask(Pause()).result(5).detail == "too many requests at once"
    lab.now = 11.0
    waiting = lab.watch.ask(Resume())
    lab.answer(lab.asked(), "goes on")
    assert waiting.result(5).done, "the watch's thread has ended"
