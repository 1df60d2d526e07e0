"""A device with its follower on a broker in memory: offers, answers, and when a life ends."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from identities import COORDINATOR, identity_of, key_of, signed
from numpy.typing import NDArray
from tiny_bundle import make_bundle

from pfedfrz_edge import bundle_follower
from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.bundle_exchange import BundleChecked, CheckBundle
from pfedfrz_edge.bundle_follower import BundleFollower, GoBack, GoOver
from pfedfrz_edge.bundle_homes import MOST_ATTEMPTS, BundleHomes
from pfedfrz_edge.bundle_record import load_record
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.runtimes import StepResult
from pfedfrz_edge.session_exchange import EvaluationDone, WorkBroken, WorkKey
from pfedfrz_edge.update_policy import OfferPolicy, UpdateSettings
from pfedfrz_protocol import (
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    CoordinatorStatus,
    DeviceEvent,
    LocalReport,
    Presence,
    Topics,
    describe_transfer,
    open_message,
    split_chunks,
    write_bundle,
)
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

TOPICS = Topics("lab")
FIRST, SECOND = make_bundle(), make_bundle(1)
ARCHIVE = write_bundle(SECOND.manifest, SECOND.files)
OFFER = BundleOffer(5, SECOND.manifest.digest, describe_transfer(ARCHIVE))
KEY = WorkKey(1, "0" * 64)


class Never:
    """A runtime that nobody asks."""

    name = "onnxruntime"

    def gradients(self, *_: object) -> StepResult:
        raise AssertionError("no round was opened")

    def predict(self, *_: object) -> NDArray[np.float32]:
        raise AssertionError("no round was opened")


class Room:
    """One life, turned by hand."""

    def __init__(
        self, folder: Path, *, is_pinned: bool = True, policy: OfferPolicy = OfferPolicy.PINNED
    ) -> None:
        self.broker = MemoryBroker()
        self.ear = MemoryLink(self.broker, "ear")
        self.ear.subscribe(TOPICS.every_device("event"))
        self.ear.start()
        self.link = MemoryLink(self.broker, "me")
        settings = DeviceSettings(
            "lab", "me", folder / "m.pfz", folder, DataSettings(str(folder / "x.npz")),
            coordinator_key=key_of(COORDINATOR).public if is_pinned else None,
            updates=UpdateSettings(policy),
        )  # fmt: skip
        self.homes = BundleHomes(folder, FIRST)
        self.homes.begin()
        bundle = self.homes.read()
        self.follower = BundleFollower(
            settings, folder / "device.toml", self.homes, self.link, "boot"
        )
        data = LabelledData(np.ones((4, 6), np.float32), np.array([0, 1, 2, 0]))
        self.agent = DeviceAgent(
            settings, bundle, Never(), LocalData(data, None, 3), self.link, "boot",
            identity_of("me"), home=self.homes.home, follower=self.follower,
        )  # fmt: skip
        self.homes.survive()
        self.follower.subscribe()
        self.link.start()
        self.turn()

    def turn(self) -> None:
        for _ in range(20):
            self.link.post(None)
            self.agent._turn()

    def say(self, topic: str, payload: bytes) -> None:
        self.agent._on_message(Message(topic, payload, True))

    def offer(self, offer: BundleOffer = OFFER, name: str = COORDINATOR) -> None:
        self.say(TOPICS.bundle, signed(offer, TOPICS.bundle, name))

    def deliver(self) -> None:
        for number, chunk in enumerate(split_chunks(ARCHIVE)):
            self.say(TOPICS.bundle_chunk(OFFER.bundle, number), chunk)

    def answers(self) -> list[object]:
        found = list[object]()
        while (event := self.ear.poll(0)) is not None:
            if isinstance(event, Message):
                found.append(open_message(event.payload, DeviceEvent))  # type: ignore[arg-type]
        return found

    def close(self) -> None:
        self.follower.close()
        for link in (self.link, self.ear):
            link.close(timeout_s=0)


class Prepared:
    """An examination whose result is known before."""

    fault: str | None = None

    def __init__(self, asked: CheckBundle, archive: Path, _: Path, post: object) -> None:
        self._asked, self._archive, self._post = asked, archive, post

    def start(self) -> None:
        self._archive.parent.mkdir(exist_ok=True)
        self._archive.write_bytes(self._asked.archive)
        self._post(BundleChecked(self._asked.offer.bundle, Prepared.fault))  # type: ignore[operator]

    def cancel(self) -> None:
        return


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr(bundle_follower, "BundleCheck", Prepared)
    monkeypatch.setattr(Prepared, "fault", None)
    made = Room(tmp_path)
    yield made
    made.close()


def test_an_offer_ends_the_life_once_the_bundle_was_found_to_work(room: Room) -> None:
    room.offer()
    assert room.follower.leaving is None
    room.deliver()
    room.turn()
    assert room.follower.leaving == GoOver(OFFER)
    room.homes.install(OFFER)
    assert room.homes.active == OFFER.bundle


def test_a_fault_is_answered_once_for_each_time_the_offer_is_seen(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prepared, "fault", "no room")
    room.offer()
    room.deliver()
    room.turn()
    assert room.answers() == [BundleRefused(5, OFFER.bundle, "boot", "no room")]
    room.deliver()
    room.turn()
    assert room.answers() == []
    room.offer()
    room.turn()
    assert room.answers() == [BundleRefused(5, OFFER.bundle, "boot", "no room")]
    assert room.follower.leaving is None


def test_an_offer_that_our_coordinator_has_not_signed_is_nothing(room: Room) -> None:
    room.offer(name="somebody")
    room.turn()
    assert room.answers() == []
    assert load_record(room.homes.folder.parent) is None


def test_the_next_life_says_that_it_has_the_bundle(room: Room, tmp_path: Path) -> None:
    room.homes.folder.mkdir(exist_ok=True)
    room.homes.offered.write_bytes(ARCHIVE)
    room.homes.install(OFFER)
    room.close()
    again = Room(tmp_path)
    again.offer()
    again.turn()
    (answer,) = again.answers()
    assert isinstance(answer, BundleInstalled)
    assert (answer.serial, answer.bundle) == (5, OFFER.bundle)
    again.close()


def test_work_that_breaks_on_trial_ends_the_life_in_the_end(room: Room, tmp_path: Path) -> None:
    room.homes.folder.mkdir(exist_ok=True)
    room.homes.offered.write_bytes(ARCHIVE)
    room.homes.install(OFFER)
    for attempt in range(MOST_ATTEMPTS):
        assert room.follower.leaving is None
        room.follower.work_begins()
        room.link.post(WorkBroken(KEY, "no memory"))
        room.turn()
        assert (room.follower.leaving is None) == (attempt < MOST_ATTEMPTS - 1)
    assert room.follower.leaving == GoBack("no memory")


def test_work_that_is_done_ends_the_trial(room: Room, tmp_path: Path) -> None:
    room.homes.folder.mkdir(exist_ok=True)
    room.homes.offered.write_bytes(ARCHIVE)
    room.homes.install(OFFER)
    room.follower.work_begins()
    room.link.post(EvaluationDone(KEY, LocalReport(4)))
    room.turn()
    record = load_record(tmp_path)
    assert record is not None
    assert not record.on_trial


def test_work_that_was_called_off_counts_neither_way(room: Room, tmp_path: Path) -> None:
    room.homes.folder.mkdir(exist_ok=True)
    room.homes.offered.write_bytes(ARCHIVE)
    room.homes.install(OFFER)
    for _ in range(2 * MOST_ATTEMPTS):
        room.follower.work_begins()
        room.follower.work_ended()
    record = load_record(tmp_path)
    assert record is not None
    assert (record.on_trial, record.attempts) == (True, 0)


def test_a_key_of_first_use_is_not_enough(tmp_path: Path) -> None:
    room = Room(tmp_path, is_pinned=False)
    room.agent._trust._key = key_of(COORDINATOR).public
    room.offer()
    room.turn()
    (answer,) = room.answers()
    assert isinstance(answer, BundleRefused)
    assert "set coordinator_key" in answer.detail
    room.close()


def test_an_offer_that_came_before_the_key_was_known_is_looked_at_again(tmp_path: Path) -> None:
    room = Room(tmp_path, is_pinned=False, policy=OfferPolicy.TRUSTED)
    room.offer()
    assert load_record(tmp_path) is None
    status = CoordinatorStatus(Presence.ONLINE, OFFER.bundle, 1, key_of(COORDINATOR).public)
    room.say(TOPICS.coordinator_status, signed(status, TOPICS.coordinator_status, COORDINATOR))
    record = load_record(tmp_path)
    assert record is not None
    assert (record.serial, record.followed) == (5, 0)
    room.close()
