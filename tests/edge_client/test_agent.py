"""A real device on an in-memory broker; the test plays the coordinator by hand."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import COORDINATOR, identity_of, key_of, signed
from numpy.typing import NDArray

from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.conditions import ConditionWatch
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.local_training import LocalTraining, LocalUpdate
from pfedfrz_edge.model_store import ModelStore
from pfedfrz_edge.outbox import Outbox
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_edge.publisher import device_will
from pfedfrz_edge.runtimes import Runtime, StepResult
from pfedfrz_edge.status.round_history import RoundHistory
from pfedfrz_edge.status.running_status import read_status
from pfedfrz_protocol import (
    Accepted,
    Bundle,
    Command,
    Control,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Encoding,
    Evaluated,
    Grant,
    Group,
    Heartbeat,
    ModelLabel,
    ModelReference,
    OperationError,
    Parameters,
    PhaseProgress,
    Presence,
    Purpose,
    Reassembly,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    SharedCodec,
    Topics,
    TrainableSet,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    open_message,
    open_tensors,
    seal_tensors,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import (
    BrokerUnreachable,
    LinkLimits,
    MemoryBroker,
    MemoryLink,
    Message,
    ServiceManager,
)

PATIENCE_S = 20.0
TOPICS = Topics("lab")
EPOCH = 100
Kind = TypeVar("Kind")


class Counting:
    """The real runtime; counts its steps, and a hook may hold one up."""

    def __init__(self, runtime: Runtime) -> None:
        self.name = runtime.name
        self._runtime = runtime
        self.steps = 0
        self.hook: Callable[[int], None] = lambda _: None

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        self.steps += 1
        self.hook(self.steps)
        return self._runtime.gradients(trainable, parameters, x, y, weight)

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return self._runtime.predict(parameters, x)


class Coordinator:
    """The other side, by hand: publishes what it is told to and takes what comes."""

    def __init__(self, broker: MemoryBroker, bundle: Bundle) -> None:
        self.bundle = bundle
        self.codec = SharedCodec.for_manifest(bundle.manifest)
        self.link = MemoryLink(broker, "coordinator")
        self.link.subscribe(TOPICS.every_device("event"))
        self.link.subscribe(TOPICS.every_update_chunk)
        self.link.start()
        self.events: list[object] = []
        self.chunks: list[tuple[int, int, bytes]] = []
        """(round, chunk, content) of every chunk that came and was not taken."""

    def model(self, version: int) -> Parameters:
        start = self.bundle.initial_weights(Group.SHARED)
        return {name: w * np.float32(1 + version / 10) for name, w in start.items()}

    def payload(self, version: int) -> bytes:
        payload = self.codec.encode(self.model(version), ModelLabel(version))
        return seal_tensors(payload, key_of(COORDINATOR))

    def publish_model(self, version: int) -> None:
        chunks = enumerate(split_chunks(self.payload(version)))
        items = [(TOPICS.model_chunk(version, n), chunk) for n, chunk in chunks]
        self.link.publish_bulk(items, tag=f"model/{version}", retained=True)

    def announcement(
        self,
        number: int,
        *,
        epoch: int = EPOCH,
        purpose: Purpose = Purpose.TRAIN,
        selected: tuple[str, ...] = ("me",),
        bundle: str | None = None,
    ) -> RoundAnnouncement:
        version = number - 1
        digest = tensors_digest(self.model(version))
        model = ModelReference(version, digest, describe_transfer(self.payload(version)))
        mine = self.bundle.manifest.digest
        return RoundAnnouncement(number, epoch, bundle or mine, purpose, model, selected, 60.0)

    def announce(self, announcement: RoundAnnouncement) -> None:
        self.link.publish_retained(TOPICS.round, signed(announcement, TOPICS.round, COORDINATOR))

    def open(self, number: int, *, epoch: int = EPOCH, purpose: Purpose = Purpose.TRAIN) -> None:
        """Publish a round's model and announce the round."""
        self.publish_model(number - 1)
        self.announce(self.announcement(number, epoch=epoch, purpose=purpose))

    def command(self, command: Command) -> None:
        topic = TOPICS.device("me", "command")
        self.link.publish(topic, signed(command, topic, COORDINATOR))

    def control(self, desired: DesiredState) -> None:
        control = signed(Control(desired, EPOCH), TOPICS.control, COORDINATOR)
        self.link.publish_retained(TOPICS.control, control)

    def take(self) -> None:
        """One event of the link, if one comes."""
        event = self.link.poll(0.05)
        if not isinstance(event, Message):
            return
        chunk = TOPICS.parse_update_chunk(event.topic)
        if chunk:
            self.chunks.append((chunk[1], chunk[2], event.payload))
        else:
            self.events.append(open_message(event.payload, DeviceEvent))  # type: ignore[arg-type]

    def expect(self, kind: type[Kind]) -> Kind:
        """The next event of that kind; those before it are dropped."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kind):
                    return event
            self.take()
        pytest.fail(f"no {kind.__name__} came")

    def receive(self, number: int, transfer: TransferReference) -> bytes:
        """The whole payload of an upload."""
        reassembly = Reassembly(transfer, self.codec.max_sealed_bytes)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self.chunks:
                of, chunk, content = self.chunks.pop(0)
                assert of == number
                payload = reassembly.add(chunk, content)
                if payload is not None:
                    return payload
            self.take()
        pytest.fail(f"the upload lacks {reassembly.missing}")

    def settle(self, number: int, epoch: int = EPOCH) -> bytes:
        """Take a round's update from its offer to its acknowledgement; its payload."""
        ready = self.expect(UpdateReady)
        assert (ready.round, ready.epoch) == (number, epoch)
        self.command(Grant(number, epoch))
        payload = self.receive(number, ready.transfer)
        self.command(Accepted(number, epoch))
        return payload

    def quiet(self, seconds: float = 0.2) -> list[object]:
        """Every event that comes within that time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.take()
        events, self.events = self.events, []
        return events


class Device:
    """One life of the device's process, on a thread."""

    def __init__(self, lab: "Lab", boot_id: str, limits: LinkLimits | None = None) -> None:
        self.runtime = Counting(lab.runtime)
        identity = identity_of("me")
        will = device_will(lab.settings, lab.bundle, boot_id, identity)
        self.link = MemoryLink(lab.broker, "me", will=will, limits=limits)
        self.agent = DeviceAgent(
            lab.settings,
            lab.bundle,
            self.runtime,
            lab.data,
            self.link,
            boot_id,
            identity,
            conditions=lab.conditions,
        )
        self.thread = threading.Thread(target=self.agent.run, name=boot_id, daemon=True)

    def start(self) -> "Device":
        self.thread.start()
        return self

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def stop(self) -> None:
        self.agent.interrupt()
        self.thread.join(PATIENCE_S)
        assert not self.alive


class Rule:
    """Says what the lab says."""

    name = "rule"
    value = "as told"

    def __init__(self, lab: "Lab") -> None:
        self._lab = lab

    def check(self) -> str | None:
        return self._lab.reason


class Lab:
    """A broker, a hand-driven coordinator, and a device with a disk."""

    def __init__(self, bundle: Bundle, runtime: Runtime, data: LocalData, disk: Path) -> None:
        self.bundle, self.runtime, self.data, self.disk = bundle, runtime, data, disk
        self.broker = MemoryBroker()
        self.coordinator = Coordinator(self.broker, bundle)
        self.settings = DeviceSettings(
            federation="lab",
            device="me",
            bundle=Path("unused"),
            state_dir=disk,
            data=DataSettings("unused"),
            seed=9,
            encoding=Encoding.FLOAT32,
            heartbeat_s=0.02,
            exit_when_stopped=True,
            coordinator_key=key_of(COORDINATOR).public,
        )
        self.devices: list[Device] = []
        self.reason: str | None = None
        """Why the device may not train."""
        self.conditions = ConditionWatch([Rule(self)], 0.001)

    def device(self, boot_id: str = "boot-1", limits: LinkLimits | None = None) -> Device:
        self.devices.append(Device(self, boot_id, limits).start())
        return self.devices[-1]

    def status(self) -> DeviceStatus:
        """What the broker says of the device."""
        payload = self.broker.retained()[TOPICS.device("me", "status")]
        return open_message(payload, DeviceStatus)

    def beats(self) -> list[Heartbeat]:
        """The heartbeats so far."""
        topic = TOPICS.device("me", "heartbeat")
        with self.broker.lock:
            beats = [c.payload for c in self.broker.captured if c.topic == topic]
        return [open_message(beat, Heartbeat) for beat in beats]

    def states(self) -> list[str]:
        """The states in the heartbeats so far."""
        return [beat.state for beat in self.beats()]

    def wait_for_state(self, state: str) -> None:
        deadline, already = time.monotonic() + PATIENCE_S, len(self.states())
        while state not in self.states()[already:]:
            assert time.monotonic() < deadline, f"never {state}: {self.states()[-1:]}"
            time.sleep(0.01)

    def alone(self, number: int, personal: Parameters | None = None) -> LocalUpdate:
        """What local training makes of a round, without any device."""
        training = LocalTraining(self.runtime, self.bundle.manifest, self.data, "me", 9)
        own = personal or self.bundle.initial_weights(Group.PERSONAL)
        return training.run(number, Purpose.TRAIN, self.coordinator.model(number - 1), own)

    def stored(self) -> StoredPersonal:
        found = PersonalStore(self.disk, self.bundle.manifest.digest).load()
        assert found is not None
        return found

    def decoded(self, payload: bytes) -> tuple[UpdateLabel, Parameters]:
        opened = open_tensors(payload).require_signer(key_of("me").public)
        header, tensors = self.coordinator.codec.decode(opened)
        assert isinstance(header.label, UpdateLabel)
        return header.label, tensors

    def close(self) -> None:
        self.broker.release_acknowledgements()
        for device in self.devices:
            device.stop()
        self.coordinator.link.close(timeout_s=0.1)


@pytest.fixture
def lab(
    wide_bundle: Bundle, wide_runtime: Runtime, wide_data: LocalData, tmp_path: Path
) -> Iterator[Lab]:
    made = Lab(wide_bundle, wide_runtime, wide_data, tmp_path / "state")
    yield made
    made.close()


def assert_same(found: Parameters, expected: Parameters) -> None:
    assert set(found) == set(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)


def test_two_rounds_from_birth_to_goodbye(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    personal: Parameters | None = None
    for number in (1, 2):
        coordinator.open(number)
        label, tensors = lab.decoded(coordinator.settle(number))
        expected = lab.alone(number, personal)
        base = tensors_digest(coordinator.model(number - 1))
        assert label == UpdateLabel("me", "boot-1", number, 40, base)
        assert_same(tensors, expected.shared)
        lab.wait_for_state("idle")
        assert Outbox(lab.disk).get() is None
        assert lab.stored().round == number
        assert_same(lab.stored().weights, expected.personal)
        personal = expected.personal
    digest = lab.bundle.manifest.digest
    key = key_of("me").public
    online = DeviceStatus(Presence.ONLINE, "boot-1", digest, "onnxruntime", 40, key)
    assert lab.status() == online
    coordinator.control(DesiredState.STOP)
    device.thread.join(PATIENCE_S)
    assert not device.alive
    assert lab.status().presence is Presence.OFFLINE


def test_the_offer_reports_what_was_measured_and_downloaded(lab: Lab) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    alone = lab.alone(1).report
    assert (ready.report.received, ready.report.local) == (alone.received, alone.local)
    assert ready.report.loss == alone.loss
    assert ready.report.downloaded_bytes >= len(coordinator.payload(0))
    assert ready.boot_id == "boot-1"


def test_no_personal_byte_is_published(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    needles = [
        weight.ravel()[:8].tobytes()
        for weights in (lab.stored().weights, lab.bundle.initial_weights(Group.PERSONAL))
        for weight in weights.values()
    ]
    with lab.broker.lock:
        payloads = [c.payload for c in lab.broker.captured]
    shared = lab.alone(1).shared["head.bias"].tobytes()
    assert any(shared in payload for payload in payloads)  # the search does find what is there
    assert not any(needle in payload for needle in needles for payload in payloads)


@pytest.mark.parametrize("moment", ["offered", "granted", "uploaded"])
def test_restarted_before_the_acknowledgement_it_uploads_again_without_training_again(
    lab: Lab, moment: str
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    if moment == "granted":
        first.stop()
        coordinator.command(Grant(1, EPOCH))  # nobody is there to hear it
    elif moment == "uploaded":
        coordinator.command(Grant(1, EPOCH))
        coordinator.receive(1, ready.transfer)
    first.stop()
    second = lab.device("boot-2")
    again = coordinator.expect(UpdateReady)
    assert again.boot_id == "boot-2"
    assert (again.transfer, again.report) == (ready.transfer, ready.report)
    coordinator.command(Grant(1, EPOCH))
    _, tensors = lab.decoded(coordinator.receive(1, again.transfer))
    coordinator.command(Accepted(1, EPOCH))
    assert_same(tensors, lab.alone(1).shared)
    lab.wait_for_state("idle")
    assert second.runtime.steps == 0
    assert Outbox(lab.disk).get() is None


def test_restarted_after_the_acknowledgement_it_begins_the_next_round_with_its_own_weights(
    lab: Lab,
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    first.stop()
    personal = lab.stored().weights
    coordinator.open(2)
    lab.device("boot-2")
    _, tensors = lab.decoded(coordinator.settle(2))
    assert_same(tensors, lab.alone(2, personal).shared)


def test_restarted_after_the_acknowledgement_it_does_not_train_for_that_round_again(
    lab: Lab,
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    first.stop()
    second = lab.device("boot-2")
    lab.wait_for_state("idle")
    assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    assert second.runtime.steps == 0
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    coordinator.settle(1, epoch=EPOCH + 1)


def test_back_at_a_restarted_broker_before_the_coordinator_it_offers_when_that_is_back(
    lab: Lab,
) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    lab.broker.drop("coordinator", stay_away=True)
    lab.broker.stop(forget=True)
    before = len(lab.broker.captured)
    lab.broker.start()
    offered = TOPICS.device("me", "event")
    deadline = time.monotonic() + PATIENCE_S
    while offered not in [c.topic for c in lab.broker.captured[before:]]:  # and nobody heard it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lab.broker.let_in("coordinator")
    assert coordinator.expect(UpdateReady) == ready
    coordinator.command(Grant(1, EPOCH))
    coordinator.receive(1, ready.transfer)


def test_a_full_queue_does_not_end_it_and_the_offer_is_made_when_there_is_room(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device(limits=LinkLimits(queued_messages=1))
    coordinator.publish_model(0)
    lab.broker.hold_acknowledgements()
    coordinator.announce(coordinator.announcement(1))
    coordinator.expect(UpdateReady)  # sent, and not acknowledged: there is no room for more
    for _ in range(5):
        coordinator.announce(coordinator.announcement(1))
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    assert coordinator.quiet() == []
    assert device.alive
    lab.broker.release_acknowledgements()
    while coordinator.expect(UpdateReady).epoch == EPOCH:
        pass
    assert device.alive


def test_progress_is_sent_once_and_waits_for_nothing(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    topic = TOPICS.device("me", "event")
    with lab.broker.lock:
        sent = [(c.payload, c.qos) for c in lab.broker.captured if c.topic == topic]
    by_kind = {
        type(open_message(payload, DeviceEvent)): qos  # type: ignore[arg-type]
        for payload, qos in sent
    }
    assert by_kind == {PhaseProgress: 0, UpdateReady: 1}


@pytest.mark.parametrize("file", ["pending-update.msgpack", "settled-round.msgpack"])
def test_a_disk_that_refuses_does_not_end_it(lab: Lab, file: str) -> None:
    (lab.disk / file).mkdir(parents=True)  # what is written cannot be put in its place
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    if file.startswith("pending"):
        failure = coordinator.expect(RoundFailed)
        assert (failure.round, failure.epoch) == (1, EPOCH)
        assert "cannot write" in failure.detail
        assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    else:
        coordinator.settle(1)
        lab.wait_for_state("idle")
    (lab.disk / file).rmdir()
    coordinator.open(2)
    coordinator.settle(2)
    assert device.alive


def test_an_update_for_a_round_that_is_over_is_not_uploaded_after_a_restart(lab: Lab) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.expect(UpdateReady)
    first.stop()
    coordinator.open(2)
    lab.device("boot-2")
    assert coordinator.expect(UpdateReady).round == 2
    pending = Outbox(lab.disk).get()
    assert pending is not None
    assert pending.round == 2


def upload_in_part(lab: Lab) -> tuple[Device, UpdateReady]:
    """A device that has sent two chunks of three and waits for them to be acknowledged."""
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    lab.broker.hold_acknowledgements()
    coordinator.command(Grant(1, EPOCH))
    lab.wait_for_state("uploading")
    assert coordinator.quiet() == []
    assert [(number, chunk) for number, chunk, _ in coordinator.chunks] == [(1, 0), (1, 1)]
    coordinator.chunks.clear()
    return device, ready


@pytest.mark.parametrize("fault", ["connection lost", "broker restarted", "broker killed"])
def test_interrupted_in_mid_upload_it_offers_again_and_sends_everything(
    lab: Lab, fault: str
) -> None:
    coordinator, (device, ready) = lab.coordinator, upload_in_part(lab)
    steps = device.runtime.steps
    if fault == "connection lost":
        lab.broker.drop("me")
    else:
        lab.broker.stop(forget=fault == "broker killed")
        lab.broker.start()
    lab.broker.release_acknowledgements()
    again = coordinator.expect(UpdateReady)
    assert again == ready
    coordinator.command(Grant(1, EPOCH))
    _, tensors = lab.decoded(coordinator.receive(1, again.transfer))
    coordinator.command(Accepted(1, EPOCH))
    assert_same(tensors, lab.alone(1).shared)
    lab.wait_for_state("idle")
    assert device.runtime.steps == steps
    assert lab.status().presence is Presence.ONLINE


def test_a_second_grant_in_mid_upload_sends_everything_from_the_first_chunk(lab: Lab) -> None:
    coordinator, (_, ready) = lab.coordinator, upload_in_part(lab)
    coordinator.command(Grant(1, EPOCH))
    lab.broker.release_acknowledgements()
    _, tensors = lab.decoded(coordinator.receive(1, ready.transfer))
    assert_same(tensors, lab.alone(1).shared)


def test_a_verdict_in_mid_upload_stops_the_rest(lab: Lab) -> None:
    coordinator, _ = lab.coordinator, upload_in_part(lab)
    coordinator.command(Rejected(1, EPOCH, RejectReason.NORM_EXCEEDED, "too far"))
    lab.wait_for_state("idle")
    lab.broker.release_acknowledgements()
    coordinator.quiet()
    assert coordinator.chunks == []
    assert Outbox(lab.disk).get() is None


def test_away_from_the_broker_it_goes_on_training_and_offers_when_it_is_back(lab: Lab) -> None:
    coordinator, device, outbox = lab.coordinator, lab.device(), Outbox(lab.disk)
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 3:
            reached.set()
            assert go_on.wait(PATIENCE_S)

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    lab.broker.drop("me", stay_away=True)
    go_on.set()
    deadline = time.monotonic() + PATIENCE_S
    while outbox.get() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lab.broker.let_in("me")
    _, tensors = lab.decoded(coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)


def test_a_round_opened_again_gets_the_same_update(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    first = coordinator.expect(UpdateReady)
    steps = device.runtime.steps
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    again = coordinator.expect(UpdateReady)
    assert again.epoch == EPOCH + 1
    assert again.transfer == first.transfer
    assert device.runtime.steps == steps


def test_a_newer_round_calls_the_running_work_off(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            reached.set()
            assert go_on.wait(PATIENCE_S)
        elif step <= 12:
            time.sleep(0.05)  # far longer in all than the agent needs to call it off

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    coordinator.open(2)
    go_on.set()
    label, _ = lab.decoded(coordinator.settle(2))  # the first offer that comes is round 2's
    assert (label.round, label.base) == (2, tensors_digest(coordinator.model(1)))
    assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    assert lab.stored().round == 2
    assert device.runtime.steps < 2 * 12  # of the twelve steps of round 1 not all were made


def test_superseded_in_a_long_batch_it_stays_alive_and_never_works_twice_at_once(
    lab: Lab,
) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            reached.set()
            assert go_on.wait(PATIENCE_S)

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    for number in (2, 3):
        coordinator.open(number)
        deadline = time.monotonic() + 5
        while ("working", number) not in [(b.state, b.round) for b in lab.beats()]:
            assert time.monotonic() < deadline, "it waits for the batch and is silent"
            time.sleep(0.01)
    time.sleep(0.1)
    assert device.runtime.steps == 2
    go_on.set()
    label, _ = lab.decoded(coordinator.settle(3))
    assert label.round == 3
    assert lab.stored().round == 3


def files_but_those_for_people(folder: Path) -> dict[str, bytes]:
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    return {name: found[name] for name in found.keys() - {"status.json", "rounds.json"}}


def test_an_evaluation_is_answered_and_nothing_is_uploaded_or_kept(lab: Lab) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    before = files_but_those_for_people(lab.disk)
    coordinator.open(2, purpose=Purpose.EVALUATE)
    answer = coordinator.expect(Evaluated)
    assert (answer.round, answer.epoch, answer.boot_id) == (2, EPOCH, "boot-1")
    assert answer.report.received is not None
    coordinator.quiet()
    assert coordinator.chunks == []
    assert files_but_those_for_people(lab.disk) == before


def test_work_that_breaks_is_told_and_the_next_round_works(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()

    def fail(step: int) -> None:
        if step == 3:
            raise RuntimeError("out of kernels")

    device.runtime.hook = fail
    coordinator.open(1)
    failure = coordinator.expect(RoundFailed)
    assert (failure.round, failure.epoch) == (1, EPOCH)
    assert failure.detail == "RuntimeError: out of kernels"
    coordinator.open(2)
    coordinator.settle(2)


def test_a_coordinator_with_another_bundle_is_ignored(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.publish_model(0)
    with caplog.at_level(logging.WARNING):
        coordinator.announce(coordinator.announcement(1, bundle="f" * 64))
        assert coordinator.quiet() == []
    assert "another bundle" in caplog.text
    assert device.runtime.steps == 0
    assert set(lab.states()) == {"idle"}


def test_not_selected_it_does_nothing(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.publish_model(0)
    coordinator.announce(coordinator.announcement(1, selected=("you",)))
    assert coordinator.quiet() == []
    assert device.runtime.steps == 0


def _flipped(payload: bytes) -> st.SearchStrategy[bytes]:
    """A valid message with some of its bytes changed."""
    changes = st.lists(
        st.tuples(st.integers(0, len(payload) - 1), st.integers(1, 255)), min_size=1, max_size=4
    )

    def change(flips: list[tuple[int, int]]) -> bytes:
        content = bytearray(payload)
        for position, flip in flips:
            content[position] ^= flip
        return bytes(content)

    return changes.map(change)


def test_no_bytes_on_any_topic_end_the_process(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    model = ModelReference(1, "a" * 64, TransferReference(1000, "b" * 64))
    mine = lab.bundle.manifest.digest
    valid = {
        TOPICS.round: RoundAnnouncement(1, 1, mine, Purpose.TRAIN, model, ("me",), 60.0),
        TOPICS.control: Control(DesiredState.PAUSE, 1),
        TOPICS.device("me", "command"): Grant(1, 1),
    }
    texts = st.sampled_from(sorted(valid)).flatmap(
        lambda topic: st.tuples(
            st.just(topic),
            st.binary(max_size=300) | _flipped(signed(valid[topic], topic, COORDINATOR)),
        )
    )
    chunks = st.tuples(
        st.sampled_from([TOPICS.model_chunk(1, 0), TOPICS.model_chunk(1, 7)]),
        st.binary(max_size=300) | st.just(bytes(1000)),
    )
    coordinator.announce(valid[TOPICS.round])  # type: ignore[arg-type]
    lab.wait_for_state("fetching")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(texts | chunks, max_size=5))
    def send(messages: list[tuple[str, bytes]]) -> None:
        for topic, payload in messages:
            coordinator.link.publish(topic, payload)
            while coordinator.link.poll(0):
                pass
        assert device.alive

    send()
    coordinator.open(5, epoch=10**6)
    coordinator.settle(5, epoch=10**6)
    assert device.alive


@pytest.mark.parametrize("chunks", [[0], [1], [0, 1, 2]])
def test_a_strangers_chunks_do_not_keep_it_from_the_model(lab: Lab, chunks: list[int]) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.announce(coordinator.announcement(1))
    lab.wait_for_state("fetching")
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    right = split_chunks(coordinator.payload(0))
    for number in range(40):
        stranger.publish(TOPICS.model_chunk(0, number), b"wrong length")
        stranger.publish(TOPICS.model_chunk(7, number % 3), right[number % 3])
    for number in chunks:  # the right length, at the right place, and before the real one
        stranger.publish(TOPICS.model_chunk(0, number), bytes(len(right[number])))
    coordinator.publish_model(0)
    _, tensors = lab.decoded(coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)
    stranger.close()


def test_a_model_that_stays_wrong_is_not_fetched_for_ever(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    wrong = [
        (TOPICS.model_chunk(0, n), bytes(len(chunk)))
        for n, chunk in enumerate(split_chunks(coordinator.payload(0)))
    ]
    coordinator.link.publish_bulk(wrong, tag="wrong", retained=True)
    coordinator.announce(coordinator.announcement(1))
    lab.wait_for_state("fetching")
    coordinator.quiet(0.3)
    before = device.link.traffic.received_bytes
    coordinator.quiet(0.3)
    assert device.link.traffic.received_bytes == before
    assert device.runtime.steps == 0
    coordinator.link.drop_bulk("wrong")
    coordinator.publish_model(0)
    coordinator.settle(1)


def test_interrupted_in_the_middle_of_training_it_ends_and_says_goodbye(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached = threading.Event()

    def slowly(step: int) -> None:
        reached.set()
        time.sleep(0.05)

    device.runtime.hook = slowly
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 2
    steps = device.runtime.steps
    time.sleep(0.15)
    assert device.runtime.steps == steps
    assert lab.status().presence is Presence.OFFLINE


def test_a_device_that_vanishes_is_said_to_be_offline_by_its_will(lab: Lab) -> None:
    will = device_will(lab.settings, lab.bundle, "boot-1", identity_of("me"))
    assert will.retain
    assert will.delay_s > 0
    assert will.topic == TOPICS.device("me", "status")
    status = open_message(will.payload, DeviceStatus)
    assert (status.presence, status.boot_id) == (Presence.OFFLINE, "boot-1")


def test_weights_that_cannot_be_read_are_said_before_anything_is_published(lab: Lab) -> None:
    PersonalStore(lab.disk, lab.bundle.manifest.digest).save(
        StoredPersonal(lab.bundle.initial_weights(Group.PERSONAL), 1, 0)
    )
    (path,) = lab.disk.iterdir()
    path.write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(OperationError, match="restore them"):
            Device(lab, "boot-1")
    assert lab.broker.captured == []


def test_a_broker_that_does_not_answer_is_said_in_time(lab: Lab) -> None:
    lab.broker.stop()
    lab.settings = msgspec.structs.replace(lab.settings, connect_timeout_s=0.1)
    with pytest.raises(BrokerUnreachable):
        Device(lab, "boot-1").agent.run()


def test_interrupted_while_it_waits_for_the_broker_it_ends_at_once(lab: Lab) -> None:
    lab.broker.stop()
    lab.settings = msgspec.structs.replace(lab.settings, connect_timeout_s=300.0)
    device = lab.device()
    time.sleep(0.1)
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 5


def test_the_end_of_an_earlier_run_does_not_end_it_and_that_of_its_own_does(lab: Lab) -> None:
    coordinator = lab.coordinator
    coordinator.control(DesiredState.STOP)
    device = lab.device()
    lab.wait_for_state("idle")
    coordinator.quiet()
    assert device.alive
    coordinator.control(DesiredState.RUN)
    coordinator.open(1)
    coordinator.settle(1)
    coordinator.control(DesiredState.STOP)
    device.thread.join(PATIENCE_S)
    assert not device.alive


def test_the_end_is_heard_by_a_device_that_was_away_from_the_broker(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.control(DesiredState.RUN)
    lab.wait_for_state("idle")
    lab.broker.drop("me", stay_away=True)
    coordinator.control(DesiredState.STOP)
    lab.broker.let_in("me")
    device.thread.join(PATIENCE_S)
    assert not device.alive


def test_when_the_federation_is_over_a_patient_device_waits_for_the_next(lab: Lab) -> None:
    lab.settings = msgspec.structs.replace(lab.settings, exit_when_stopped=False)
    coordinator, device = lab.coordinator, lab.device()
    coordinator.control(DesiredState.STOP)
    coordinator.quiet()
    assert device.alive
    coordinator.control(DesiredState.RUN)
    coordinator.open(1)
    coordinator.settle(1)


def test_systemd_hears_ready_once_and_the_watchdog_only_while_the_loop_turns(
    lab: Lab, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000"}
        life = Device(lab, "boot-1")
        life.agent = DeviceAgent(
            # Without the notice of systemd this loop would wait for its heartbeat.
            msgspec.structs.replace(lab.settings, heartbeat_s=3600.0),
            lab.bundle,
            life.runtime,
            lab.data,
            life.link,
            "boot-1",
            identity_of("me"),
            manager=ServiceManager(told),
        )
        life.thread = threading.Thread(target=life.agent.run, daemon=True)
        lab.devices.append(life.start())
        heard: list[str] = []
        while heard.count("WATCHDOG=1") < 3 or "STATUS=connected; round 0: idle" not in heard:
            heard += systemd.recv(4096).decode().split("\n")
        assert heard.count("READY=1") == 1
        life.stop()
        while "STOPPING=1" not in heard:
            heard += systemd.recv(4096).decode().split("\n")
        systemd.settimeout(0.1)
        with pytest.raises(TimeoutError):
            systemd.recv(4096)


class Growing:
    """A feed that a test fills."""

    def __init__(self, data: LocalData) -> None:
        self.whole = data
        self.samples = 0

    def latest(self) -> LocalData:
        train = LabelledData(self.whole.train.x[: self.samples], self.whole.train.y[: self.samples])
        return LocalData(train, self.whole.test, self.whole.classes)


def wait_for_samples(lab: Lab, samples: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    topic = TOPICS.device("me", "status")
    while topic not in lab.broker.retained() or lab.status().samples != samples:
        assert time.monotonic() < deadline, f"never {samples} samples"
        time.sleep(0.01)


def test_a_device_without_samples_waits_for_the_first_and_says_how_many_there_are(lab: Lab) -> None:
    whole, feed = lab.data, Growing(lab.data)
    lab.data = feed  # type: ignore[assignment]
    device = lab.device()
    wait_for_samples(lab, 0)
    lab.coordinator.open(1)
    failed = lab.coordinator.expect(RoundFailed)
    assert failed.detail == "no samples yet"
    feed.samples = 25  # found at a heartbeat
    wait_for_samples(lab, 25)
    assert lab.status().presence is Presence.ONLINE
    feed.samples = 40  # found before the work of a round
    lab.coordinator.open(2)
    label, _ = lab.decoded(lab.coordinator.settle(2))
    assert label.samples == 40
    wait_for_samples(lab, 40)
    feed.samples = 0  # all were taken away: not trained on any more
    lab.coordinator.open(3)
    assert lab.coordinator.expect(RoundFailed).round == 3
    wait_for_samples(lab, 0)
    assert device.alive
    lab.data = whole


# When the device may train, and what it has then


def test_a_device_that_may_not_train_says_why_and_begins_when_it_may(lab: Lab) -> None:
    lab.reason = "power: not on mains"
    device = lab.device()
    lab.coordinator.open(1)
    lab.wait_for_state("waiting")
    said = lab.status()
    assert (said.presence, said.waiting_for) == (Presence.WAITING, "power: not on mains")
    assert lab.coordinator.quiet() == []
    assert device.runtime.steps == 0
    lab.reason = None
    lab.coordinator.settle(1)
    lab.wait_for_state("idle")
    said = lab.status()
    assert (said.presence, said.waiting_for) == (Presence.ONLINE, "")


def test_training_is_paused_between_batches_and_goes_on_to_the_same_weights(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        if step == 3:
            lab.reason = "temperature: reached 75 C"
            lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    lab.wait_for_state("paused")  # and again: it is a state, not a moment
    steps = device.runtime.steps
    assert lab.status().presence is Presence.WAITING
    lab.coordinator.quiet()
    assert (steps, device.runtime.steps) == (3, 3)
    lab.reason = None
    _, tensors = lab.decoded(lab.coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)


def test_a_superseded_round_is_called_off_while_it_is_paused(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        lab.reason = "temperature: reached 75 C"
        lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    device.runtime.hook = lambda _: None
    lab.coordinator.open(2)
    lab.wait_for_state("waiting")
    lab.reason = None
    label, _ = lab.decoded(lab.coordinator.settle(2))
    assert label.round == 2


def test_a_paused_device_ends_at_once(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        lab.reason = "temperature: reached 75 C"
        lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 5
    assert lab.status().presence is Presence.OFFLINE


def test_what_was_trained_is_kept_for_use_and_told(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    lab.wait_for_state("idle")
    expected = lab.alone(1)
    found = ModelStore(lab.disk, lab.bundle.manifest.digest).load()
    assert found is not None
    assert_same(found.model.weights, {**expected.personal, **expected.shared})
    (record,) = RoundHistory(lab.disk).records
    assert record.report is not None
    assert (record.round, record.report.local) == (1, expected.report.local)
    status = read_status(lab.disk)
    assert status is not None
    assert status.process.is_alive
    assert (status.connected, status.samples) == (True, 40)
    assert status.conditions == {"rule": "as told"}
    assert status.coordinator_key == key_of(COORDINATOR).public
    lab.devices[0].stop()
    status = read_status(lab.disk)
    assert status is not None
    assert status.ended_at is not None
