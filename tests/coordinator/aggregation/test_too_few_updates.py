"""A round with fewer updates than its rule needs: it waits or opens again, and says so.

Never is another rule put in the place of the one that was asked for.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from identities import COORDINATOR, identity_of, key_of, signed
from tiny_bundle import make_bundle

from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.engine import RoundEngine, StartingPoint
from pfedfrz_coordinator.engine_exchange import (
    Action,
    Aggregate,
    DeviceAppeared,
    Event,
    Note,
    OpenRound,
    Tick,
    UpdateOffered,
    UpdateStored,
)
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.service import CoordinatorService
from pfedfrz_protocol import (
    Command,
    DeviceStatus,
    Grant,
    Group,
    LocalReport,
    ModelReference,
    Parameters,
    Presence,
    RoundAnnouncement,
    SharedCodec,
    Topics,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    open_message,
    seal_tensors,
    split_chunks,
)
from pfedfrz_storage import load_tensors
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

BUNDLE = make_bundle()
DIGEST = BUNDLE.manifest.digest
MODEL = ModelReference(0, "0" * 64, TransferReference(100, "c" * 64))
TOPICS = Topics("lab")
PATIENCE_S = 20.0


class Driver:
    """An engine whose rule needs five updates, and a clock that the test moves."""

    def __init__(self, **policy: float) -> None:
        given = RoundPolicy(**{"deadline_s": 10.0, "start_timeout_s": 5.0, **policy})  # type: ignore[arg-type]
        self.now = 0.0
        self.engine = RoundEngine(given, DIGEST, StartingPoint(MODEL, 1), 0.0, fewest_updates=5)

    def __call__(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.engine.handle(event, self.now)]

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self(Tick())

    def appear(self, devices: str) -> list[Action]:
        return self(*(DeviceAppeared(device) for device in devices))

    def deliver(self, devices: str) -> list[Action]:
        epoch = self.engine.epoch
        offers = [UpdateOffered(d, 1, epoch, MODEL.digest, MODEL.transfer) for d in devices]
        return self(*offers, *(UpdateStored(device, 1) for device in devices))


def notes(actions: list[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Note)]


def opened(actions: list[Action]) -> list[tuple[str, ...]]:
    return [a.announcement.selected for a in actions if isinstance(a, OpenRound)]


def test_no_round_opens_with_fewer_devices_than_the_rule_needs_and_that_is_noted_once() -> None:
    drive = Driver()
    assert drive.appear("abc") == []
    waits = drive.after(5.0)
    assert notes(waits) == ["round 1 waits: 3 devices, and the aggregation rule needs 5 updates"]
    assert drive.appear("d") == drive.after(5.0) == []
    assert opened(drive.appear("e")) == [("a", "b", "c", "d", "e")]


def test_a_quorum_of_fewer_updates_than_the_rule_needs_closes_no_round() -> None:
    drive = Driver(quorum=0.5, start_devices=6)
    drive.appear("abcdef")
    drive.deliver("abcd")
    again = drive.after(10.0)
    assert not [action for action in again if isinstance(action, Aggregate)]
    assert notes(again)[-1] == (
        "round 1: 4 of 6 updates at the deadline, fewer than the 5 that the aggregation rule "
        "needs; opened again"
    )
    assert opened(again) == [("e", "f")]
    drive.deliver("f")
    assert drive.after(10.0)[-1] == Aggregate(1, tuple("abcdf"))


def test_a_rule_that_needs_little_leaves_the_quorum_in_charge() -> None:
    drive = Driver(quorum=1.0, start_devices=6)
    drive.appear("abcdef")
    drive.deliver("abcde")
    assert "5 of 6 updates at the deadline, below the quorum" in notes(drive.after(10.0))[-1]


class Device:
    """One device by hand, whose every weight is moved by `step`."""

    def __init__(self, broker: MemoryBroker, name: str, step: float) -> None:
        self.name, self.step = name, np.float32(step)
        self.link = MemoryLink(broker, name)
        self.codec = SharedCodec.for_manifest(BUNDLE.manifest)
        self.link.subscribe(TOPICS.round)
        self.link.subscribe(TOPICS.device(name, "command"))
        key = key_of(name).public
        status = DeviceStatus(Presence.ONLINE, "boot", DIGEST, "onnxruntime", 10, key)
        topic = TOPICS.device(name, "status")
        self.link.publish_retained(topic, signed(status, topic, name))
        self.link.start()

    def update(self) -> Parameters:
        return {n: w + self.step for n, w in BUNDLE.initial_weights(Group.SHARED).items()}

    def deliver(self, epoch: int = 0) -> int:
        """Take part in the first round announced after `epoch`; its epoch."""
        deadline = time.monotonic() + PATIENCE_S
        payload = b""
        while time.monotonic() < deadline:
            event = self.link.poll(0.05)
            if not isinstance(event, Message) or not event.payload:
                continue
            if event.topic == TOPICS.round:
                told = open_message(event.payload, RoundAnnouncement)
                if told.epoch > epoch and self.name in told.selected:
                    payload = self._offer(told)
            elif isinstance(open_message(event.payload, Command), Grant) and payload:  # type: ignore[arg-type]
                for chunk, content in enumerate(split_chunks(payload)):
                    self.link.publish(TOPICS.update_chunk(self.name, told.round, chunk), content)
                return told.epoch
        pytest.fail(f"{self.name} was never asked")

    def _offer(self, told: RoundAnnouncement) -> bytes:
        label = UpdateLabel(self.name, "boot", told.round, 10, told.model.digest)
        payload = seal_tensors(self.codec.encode(self.update(), label), key_of(self.name))
        digest, transfer = told.model.digest, describe_transfer(payload)
        report = LocalReport(10, 0.5)
        ready = UpdateReady(told.round, told.epoch, "boot", digest, transfer, report)
        topic = TOPICS.device(self.name, "event")
        self.link.publish(topic, signed(ready, topic, self.name))
        return payload


def test_a_service_keeps_the_updates_opens_again_and_closes_with_the_rule_it_was_given(
    tmp_path: Path,
) -> None:
    now, broker = [1000.0], MemoryBroker()
    link = MemoryLink(broker, "coordinator")
    finished: list[bool] = []

    def run() -> None:
        settings = CoordinatorSettings(
            federation="lab",
            bundle=Path("unused"),
            state_dir=tmp_path,
            aggregation="krum:attackers=1",
            rounds=RoundPolicy(rounds=1, start_devices=6, quorum=0.5, evaluate=False),
        )
        service = CoordinatorService(
            settings, BUNDLE, link, identity_of(COORDINATOR), clock=lambda: now[0]
        )
        finished.append(service.run())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    steps = {"a": 50.0, "b": 1.0, "c": 1.1, "d": 1.3, "e": 1.6, "f": 2.0}
    devices = {name: Device(broker, name, step) for name, step in steps.items()}
    epochs = {devices[name].deliver() for name in "abcd"}

    def accepted() -> int:
        journal = Journal(tmp_path / "journal.sqlite", read_only=True)
        count = sum(row.status == "accepted" for row in journal.members(1))
        journal.close()
        return count

    deadline = time.monotonic() + PATIENCE_S
    while accepted() < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    now[0] += 1000.0  # past the deadline: four of six are a quorum, and Krum needs five
    link.wake()
    for name in "ef":
        devices[name].deliver(max(epochs))
    thread.join(PATIENCE_S)
    assert finished == [True]
    journal = Journal(tmp_path / "journal.sqlite", read_only=True)
    said = "\n".join(journal.notes())
    journal.close()
    assert "4 of 6 updates at the deadline, fewer than the 5 that the aggregation rule" in said
    shared, _ = load_tensors(next((tmp_path / "models").glob("*1.safetensors")))
    for name, tensor in devices["d"].update().items():
        np.testing.assert_array_equal(shared[name], tensor)
    for device in devices.values():
        device.link.close(timeout_s=0.1)
