"""A real coordinator on an in-memory broker; the test plays the devices by hand."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
import tiny_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import COORDINATOR, identity_of, key_of, signed

from pfedfrz_coordinator.acceptance import AcceptancePool
from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_coordinator.service import CoordinatorService, coordinator_will
from pfedfrz_coordinator.update_store import UpdateStore
from pfedfrz_coordinator.validation import ValidationPolicy
from pfedfrz_protocol import (
    SIGNATURE_BYTES,
    Accepted,
    Bundle,
    Command,
    ConfigurationError,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Encoding,
    Evaluated,
    Grant,
    Group,
    LocalReport,
    ModelLabel,
    NotAdmitted,
    Parameters,
    PhaseProgress,
    Presence,
    Purpose,
    Reassembly,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundMetrics,
    SharedCodec,
    Topics,
    TrainableSet,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    encode_message,
    open_message,
    open_tensors,
    seal_tensors,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import BrokerUnreachable, MemoryBroker, MemoryLink, Message

PATIENCE_S = 20.0
TOPICS = Topics("lab")
Kind = TypeVar("Kind")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Device:
    """One device, by hand."""

    def __init__(self, lab: "Lab", name: str, *, bundle: str | None = None) -> None:
        self.lab, self.name = lab, name
        self.link = MemoryLink(lab.broker, name)
        self.bundle = bundle or lab.bundle.manifest.digest
        self.received: list[object] = []
        self.chunks: dict[tuple[int, int], bytes] = {}
        for topic in (TOPICS.round, TOPICS.control, TOPICS.device(name, "command")):
            self.link.subscribe(topic)
        self.say(Presence.ONLINE)
        self.link.start()

    def say(self, presence: Presence, samples: int = 10, waiting_for: str = "") -> None:
        key = key_of(self.name).public
        status = DeviceStatus(
            presence, "boot", self.bundle, "onnxruntime", samples, key, waiting_for=waiting_for
        )
        topic = TOPICS.device(self.name, "status")
        self.link.publish_retained(topic, signed(status, topic, self.name))

    def tell(self, event: msgspec.Struct) -> None:
        topic = TOPICS.device(self.name, "event")
        self.link.publish(topic, signed(event, topic, self.name))

    def take(self) -> None:
        event = self.link.poll(0.05)
        if not isinstance(event, Message) or not event.payload:
            return
        chunk = TOPICS.parse_model_chunk(event.topic)
        if chunk:
            self.chunks[chunk] = event.payload
        elif event.topic == TOPICS.round:
            self.received.append(open_message(event.payload, RoundAnnouncement))
        elif event.topic == TOPICS.control:
            self.received.append(open_message(event.payload, Control))
        else:
            self.received.append(open_message(event.payload, Command))  # type: ignore[arg-type]

    def expect(self, kind: type[Kind]) -> Kind:
        """The next message of that kind; those before it are dropped."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self.received:
                message = self.received.pop(0)
                if isinstance(message, kind):
                    return message
            self.take()
        pytest.fail(f"{self.name}: no {kind.__name__} came")

    def quiet(self, seconds: float = 0.15) -> list[object]:
        """Every message that comes within that time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.take()
        received, self.received = self.received, []
        return received

    def fetch(self, announcement: RoundAnnouncement) -> Parameters:
        """The announced model, by its chunks."""
        model = announcement.model
        self.link.subscribe(TOPICS.model_chunks(model.version))
        reassembly = Reassembly(model.transfer, self.lab.codec.max_sealed_bytes)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for (version, number), chunk in list(self.chunks.items()):
                del self.chunks[version, number]
                payload = reassembly.add(number, chunk) if version == model.version else None
                if payload is not None:
                    self.link.unsubscribe(TOPICS.model_chunks(model.version))
                    signer = key_of(COORDINATOR).public
                    _, tensors = self.lab.codec.decode(open_tensors(payload).require_signer(signer))
                    assert tensors_digest(tensors) == model.digest
                    return tensors
            self.take()
        pytest.fail(f"{self.name}: the model lacks {reassembly.missing}")

    def label(self, announcement: RoundAnnouncement, samples: int = 10) -> UpdateLabel:
        return UpdateLabel(
            self.name, "boot", announcement.round, samples, announcement.model.digest
        )

    def offer(
        self, announcement: RoundAnnouncement, payload: bytes, *, base: str | None = None
    ) -> None:
        report = LocalReport(10, 0.25, 0.75, 1.5, downloaded_bytes=100)
        self.tell(
            UpdateReady(
                announcement.round,
                announcement.epoch,
                "boot",
                base or announcement.model.digest,
                describe_transfer(payload),
                report,
            )
        )

    def upload(self, number: int, payload: bytes, *only: int) -> None:
        for chunk, content in enumerate(split_chunks(payload)):
            if not only or chunk in only:
                self.link.publish(TOPICS.update_chunk(self.name, number, chunk), content)

    def deliver(self, announcement: RoundAnnouncement, payload: bytes) -> object:
        """Offer and upload an update; the verdict."""
        self.offer(announcement, payload)
        self.expect(Grant)
        self.upload(announcement.round, payload)
        return self.expect(Accepted | Rejected)  # type: ignore[arg-type]

    def close(self) -> None:
        self.link.close(timeout_s=0.1)


class Lab:
    """A broker, and a coordinator's disk and lives."""

    def __init__(self, disk: Path, bundle: Bundle) -> None:
        self.broker = MemoryBroker()
        self.bundle = bundle
        self.disk = disk
        self.codec = SharedCodec.for_manifest(bundle.manifest)
        self.clock = Clock()
        self.devices: list[Device] = []
        self.lives: list[Life] = []
        self.initial = bundle.initial_weights(Group.SHARED)

    def coordinator(self, *, connect: bool = True, **changes: Any) -> "Life":
        """Begin a life of the coordinator; `changes` are of the round policy."""
        policy: dict[str, Any] = {"rounds": 1, "start_devices": 2, "evaluate": False}
        policy.update(changes)
        validation = policy.pop("validation", ValidationPolicy(max_samples=1000))
        quotas = policy.pop("quotas", QuotaPolicy())
        configuration = CoordinatorSettings(
            federation="lab",
            bundle=Path("unused"),
            state_dir=self.disk,
            connect_timeout_s=0.2 if not connect else 30.0,
            rounds=RoundPolicy(**policy),
            validation=validation,
            quotas=quotas,
        )
        life = Life(self, configuration)
        self.lives.append(life)
        return life

    def device(self, name: str, *, bundle: str | None = None) -> Device:
        self.devices.append(Device(self, name, bundle=bundle))
        return self.devices[-1]

    def journal(self) -> Journal:
        return Journal(self.disk / "journal.sqlite", read_only=True)

    def statuses(self, number: int = 1) -> dict[str, str]:
        journal = self.journal()
        found = {row.device: row.status for row in journal.members(number)}
        journal.close()
        return found

    def rejects(self) -> dict[RejectReason, int]:
        journal = self.journal()
        found = journal.rejects()
        journal.close()
        return found

    def notes(self) -> str:
        journal = self.journal()
        found = "\n".join(journal.notes())
        journal.close()
        return found

    def metrics(self) -> RoundMetrics:
        return open_message(self.broker.retained()[TOPICS.metrics], RoundMetrics)

    def moved(self, step: float) -> Parameters:
        """The initial model, every weight moved by as much."""
        return {name: w + np.float32(step) for name, w in self.initial.items()}

    def payload(self, device: Device, announcement: RoundAnnouncement, step: float) -> bytes:
        payload = self.codec.encode(self.moved(step), device.label(announcement))
        return seal_tensors(payload, key_of(device.name))

    def close(self) -> None:
        for life in self.lives:
            life.end()
        for device in self.devices:
            device.close()


class Life:
    """One life of the coordinator's process, on a thread."""

    def __init__(self, lab: Lab, configuration: CoordinatorSettings) -> None:
        self.lab = lab
        self.finished: bool | None = None
        self.fault: Exception | None = None
        self._settings = configuration
        self._made = threading.Event()
        self.service: CoordinatorService
        will = coordinator_will(configuration, lab.bundle, identity_of(COORDINATOR))
        self.link = MemoryLink(lab.broker, "coordinator", will=will)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._made.wait(PATIENCE_S)

    def _run(self) -> None:
        # All on one thread, as in a process: SQLite's connections belong to theirs.
        try:
            self.service = CoordinatorService(
                self._settings,
                self.lab.bundle,
                self.link,
                identity_of(COORDINATOR),
                clock=self.lab.clock,
            )
            self._made.set()
            self.finished = self.service.run()
        except Exception as error:
            self.fault = error
            self._made.set()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def end(self) -> None:
        """Interrupt it, if it is still there."""
        if self.alive:
            self.service.interrupt()
        self.thread.join(PATIENCE_S)
        assert not self.alive

    def result(self) -> bool:
        """What `run` returned, once it is over."""
        self.thread.join(PATIENCE_S)
        assert not self.alive
        if self.fault:
            raise self.fault
        assert self.finished is not None
        return self.finished

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.lab.clock.now_s += seconds
        self.link.wake()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "coordinator", tiny_bundle.make_bundle())
    yield made
    made.close()


@pytest.fixture
def large_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A federation whose shared weights fill four chunks."""
    monkeypatch.setitem(tiny_bundle.SHARED, "head.weight", (400, 500))
    made = Lab(tmp_path / "coordinator", tiny_bundle.make_bundle())
    yield made
    made.close()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def begin(lab: Lab, **policy: Any) -> tuple[Life, Device, Device, RoundAnnouncement]:
    """A coordinator with an open round of the devices a and b."""
    life = lab.coordinator(**policy)
    a, b = lab.device("a"), lab.device("b")
    announcement = a.expect(RoundAnnouncement)
    assert b.expect(RoundAnnouncement) == announcement
    assert announcement.selected == ("a", "b")
    return life, a, b, announcement


def finish(lab: Lab, life: Life) -> RoundMetrics:
    """The numbers of the last round of a federation that comes to its end."""
    assert life.result() is True
    return lab.metrics()


def test_a_federation_from_its_first_round_to_its_end(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2, evaluate=True)
    assert (first.round, first.purpose, first.model.version) == (1, Purpose.TRAIN, 0)
    assert first.bundle == lab.bundle.manifest.digest
    for name, tensor in a.fetch(first).items():
        np.testing.assert_array_equal(tensor, lab.initial[name])
    online = open_message(lab.broker.retained()[TOPICS.coordinator_status], CoordinatorStatus)
    assert (online.presence, online.epoch) == (Presence.ONLINE, first.epoch)

    a.tell(PhaseProgress(1, 0, 2, TrainableSet.PERSONAL, 0, 1, 0.5))
    payload = seal_tensors(
        lab.codec.encode(lab.moved(1.0), a.label(first, samples=10)), key_of("a")
    )
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    heavier = seal_tensors(
        lab.codec.encode(
            lab.moved(4.0), b.label(first, samples=30), Encoding.DELTA_FLOAT16, lab.initial
        ),
        key_of("b"),
    )
    assert b.deliver(first, heavier) == Accepted(1, first.epoch)

    second = a.expect(RoundAnnouncement)
    assert (second.round, second.model.version) == (2, 1)
    model = b.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + (10 * 1 + 30 * 4) / 40, rtol=1e-6)
    metrics = lab.metrics()
    assert (metrics.round, metrics.selected, metrics.accepted, metrics.missing) == (1, 2, 2, 0)
    assert (metrics.received_mean, metrics.local_mean) == (0.25, 0.75)
    assert metrics.uplink_bytes == len(payload) + len(heavier)
    assert metrics.downlink_bytes == 200
    assert metrics.update_norms["a"] == pytest.approx(15**0.5, rel=1e-4)

    assert b.expect(RoundAnnouncement) == second
    for device in (a, b):
        same = seal_tensors(lab.codec.encode(model, device.label(second)), key_of(device.name))
        assert device.deliver(second, same) == Accepted(2, second.epoch)
    third = a.expect(RoundAnnouncement)
    assert (third.round, third.purpose) == (3, Purpose.EVALUATE)
    for device, received in ((a, 0.5), (b, 0.7)):
        device.tell(Evaluated(3, third.epoch, "boot", LocalReport(10, received)))
    metrics = finish(lab, life)
    assert (metrics.round, metrics.purpose, metrics.accepted) == (3, Purpose.EVALUATE, 0)
    assert metrics.received_mean == pytest.approx(0.6)
    assert a.expect(Control).desired is DesiredState.STOP
    retained = lab.broker.retained()
    assert not [topic for topic in retained if topic.startswith("pfedfrz-bin/")]
    assert TOPICS.round not in retained
    offline = open_message(retained[TOPICS.coordinator_status], CoordinatorStatus)
    assert offline.presence is Presence.OFFLINE


def test_the_order_of_delivery_does_not_change_a_bit(tmp_path: Path) -> None:
    digests = set()
    for order in ("ab", "ba"):
        lab = Lab(tmp_path / order, tiny_bundle.make_bundle())
        _, a, b, first = begin(lab, rounds=2)
        devices = {"a": a, "b": b}
        for name in order:
            step = {"a": 0.1, "b": 0.7}[name]
            device = devices[name]
            assert device.deliver(first, lab.payload(device, first, step)) == Accepted(
                1, first.epoch
            )
        digests.add(a.expect(RoundAnnouncement).model.digest)
        lab.close()
    assert len(digests) == 1


# Faults of the coordinator and of the broker


def test_restarted_in_mid_round_it_keeps_what_was_accepted_and_asks_only_the_others(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.deliver(first, lab.payload(a, first, 1.0))
    life.end()
    assert life.finished is False
    life = lab.coordinator(rounds=2)
    again = b.expect(RoundAnnouncement)
    assert (again.round, again.model) == (1, first.model)
    assert again.epoch > first.epoch
    assert again.selected == ("b",)
    b.deliver(again, lab.payload(b, again, 3.0))
    second = a.expect(RoundAnnouncement)
    while second.round == 1:
        second = a.expect(RoundAnnouncement)
    model = a.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 2.0, rtol=1e-6)
    assert lab.metrics().accepted == 2
    assert (lab.metrics().received_mean, lab.metrics().local_mean) == (0.25, 0.75)


def test_an_accepted_device_that_asks_again_after_the_restart_hears_that_it_is_accepted(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.deliver(first, payload)
    life.end()
    lab.coordinator()
    again = b.expect(RoundAnnouncement)
    a.offer(again, payload)
    assert a.expect(Accepted) == Accepted(1, again.epoch)


def test_an_offer_that_comes_while_a_restarted_coordinator_waits_for_devices_is_not_lost(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    life.end()
    b.say(Presence.OFFLINE)
    life = lab.coordinator()
    wait_for(lambda: life.link.is_up)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)  # trained under the old announcement, which still stands
    heard = a.quiet()
    b.say(Presence.ONLINE)
    again = next((m for m in heard if isinstance(m, RoundAnnouncement)), None)
    if again is None:
        # A device that hears a verdict before it hears of the new epoch drops its update.
        assert [m for m in heard if isinstance(m, Rejected)] == []
        again = a.expect(RoundAnnouncement)
    else:
        assert not any(isinstance(m, Rejected) for m in heard[: heard.index(again)])
    assert again.round == 1
    assert again.epoch > first.epoch
    assert a.deliver(again, payload) == Accepted(1, again.epoch)


def test_restarted_between_rounds_it_goes_on_with_the_next(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    second = a.expect(RoundAnnouncement)
    life.end()
    lab.coordinator(rounds=2)
    again = a.expect(RoundAnnouncement)
    assert (again.round, again.model) == (2, second.model)
    assert again.epoch > second.epoch
    a.fetch(again)


def test_started_again_after_its_end_it_ends_at_once(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    finish(lab, life)
    assert lab.coordinator().result() is True
    assert lab.metrics().round == 1


@pytest.mark.parametrize("forget", [False, True], ids=["broker restarted", "broker killed"])
def test_a_broker_that_goes_away_in_mid_upload_costs_no_update(
    large_lab: Lab, forget: bool
) -> None:
    lab = large_lab
    life, a, b, first = begin(lab, rounds=2)
    assert b.deliver(first, lab.payload(b, first, 3.0)) == Accepted(1, first.epoch)
    payload = lab.payload(a, first, 1.0)
    assert len(split_chunks(payload)) == 4
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 0, 1)
    lab.broker.stop(forget=forget)
    lab.broker.start()
    wait_for(lambda: TOPICS.round in lab.broker.retained())
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    second = a.expect(RoundAnnouncement)
    while second.round == 1:
        second = a.expect(RoundAnnouncement)
    model = a.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 2.0, rtol=1e-6)
    assert life.alive
    assert lab.rejects() == {}


def test_a_device_that_comes_back_in_mid_upload_begins_again(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 3, 1)
    assert a.deliver(first, payload) == Accepted(1, first.epoch)


def test_chunks_may_come_in_any_order_and_twice(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    for chunk in (2, 2, 0, 3, 0):
        a.upload(1, payload, chunk)
    assert a.quiet() == []
    a.upload(1, payload, 1)
    assert a.expect(Accepted) == Accepted(1, first.epoch)


def test_a_broker_that_does_not_answer_is_said_in_time(lab: Lab) -> None:
    lab.broker.stop()
    with pytest.raises(BrokerUnreachable):
        lab.coordinator(connect=False).result()


def test_state_of_another_bundle_is_refused_before_anything_is_published(lab: Lab) -> None:
    begin(lab)[0].end()
    published = len(lab.broker.captured)
    lab.bundle = tiny_bundle.make_bundle(seed=1)
    with pytest.raises(ConfigurationError, match="another bundle"):
        lab.coordinator().result()
    assert len(lab.broker.captured) == published


# Devices that die, are slow, or have another bundle


def test_a_device_that_dies_is_noted_and_the_round_goes_on_after_its_deadline(lab: Lab) -> None:
    life, a, b, first = begin(lab, deadline_s=50.0, quorum=0.5)
    a.deliver(first, lab.payload(a, first, 1.0))
    b.say(Presence.OFFLINE)
    wait_for(lambda: "b went away while pending" in lab.notes())
    life.after(50.0)
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.missing) == (1, 1)
    assert "deadline passed without b" in lab.notes()


def test_a_device_that_waits_in_mid_round_may_deliver_and_is_not_asked_next(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    b.say(Presence.WAITING, waiting_for="power: not on mains")
    wait_for(lambda: "b waits (power: not on mains) while pending" in lab.notes())
    life.after(2.0)
    registry = Registry(lab.disk)
    try:
        wait_for(lambda: (row := registry.find("b")) is not None and "mains" in row.waiting_for)
        b.deliver(first, lab.payload(b, first, 1.0))
        a.deliver(first, lab.payload(a, first, 3.0))
        second = a.expect(RoundAnnouncement)
        assert (second.round, second.selected) == (2, ("a",))
        b.say(Presence.ONLINE)
        life.after(2.0)
        wait_for(lambda: (row := registry.find("b")) is not None and not row.waiting_for)
    finally:
        registry.close()
    a.deliver(second, lab.payload(a, second, 1.0))
    assert finish(lab, life).accepted == 1


def test_below_the_quorum_the_round_is_opened_again_and_nothing_is_lost(lab: Lab) -> None:
    life, a, b, first = begin(lab, deadline_s=50.0, quorum=1.0)
    a.deliver(first, lab.payload(a, first, 1.0))
    life.after(50.0)
    again = b.expect(RoundAnnouncement)
    assert (again.round, again.selected) == (1, ("b",))
    assert again.epoch > first.epoch
    b.deliver(again, lab.payload(b, again, 3.0))
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.selected) == (2, 2)


def test_a_device_that_says_it_failed_is_not_waited_for(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    b.tell(RoundFailed(1, first.epoch, "boot", "no space left"))
    wait_for(lambda: lab.statuses()["b"] == "failed")
    a.deliver(first, lab.payload(a, first, 1.0))
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert "no space left" in lab.notes()


def test_what_arrives_after_its_grant_expired_counts_for_the_journal_and_the_model_alike(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab, uploads_at_once=1, grant_timeout_s=5.0, deadline_s=50.0)
    late = lab.payload(a, first, 1.0)
    a.offer(first, late)
    a.expect(Grant)
    b.offer(first, lab.payload(b, first, 3.0))
    life.after(5.0)
    b.expect(Grant)
    a.upload(1, late)
    assert a.quiet() == []
    b.upload(1, lab.payload(b, first, 3.0))
    b.expect(Accepted)
    life.after(50.0)
    metrics = finish(lab, life)
    # Whatever the journal calls accepted is what the next model is made of, and nothing else.
    assert lab.statuses()["b"] == "accepted"
    assert lab.statuses()["a"] != "accepted"
    assert metrics.accepted == 1
    assert list(metrics.update_norms) == ["b"]


def test_a_device_without_samples_is_not_selected_until_it_has_some(lab: Lab) -> None:
    empty = lab.device("c")
    empty.say(Presence.ONLINE, samples=0)
    life, a, b, first = begin(lab, rounds=2)
    assert first.selected == ("a", "b")
    empty.say(Presence.ONLINE, samples=1)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    second = a.expect(RoundAnnouncement)
    assert second.selected == ("a", "b", "c")
    for device in (a, b, empty):
        device.deliver(second, lab.payload(device, second, 1.0))
    assert finish(lab, life).accepted == 3


def test_a_device_with_another_bundle_is_left_out(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stranger = lab.device("c", bundle="e" * 64)
        _, a, _, first = begin(lab)
    assert first.selected == ("a", "b")
    assert "c has another bundle" in caplog.text
    stranger.offer(first, lab.payload(stranger, first, 1.0))
    assert not any(isinstance(m, Grant | Accepted) for m in stranger.quiet())
    assert set(lab.statuses()) == {"a", "b"}
    assert a.quiet() == []


def test_a_device_whose_status_is_cleared_is_gone(lab: Lab) -> None:
    gone = lab.device("gone")
    gone.link.clear_retained(TOPICS.device("gone", "status"))
    life = lab.coordinator()
    wait_for(lambda: life.link.is_up)
    _, b = lab.device("a"), lab.device("b")
    assert b.expect(RoundAnnouncement).selected == ("a", "b")


# Uploads that are cut


def test_after_a_cut_only_the_missing_chunks_are_asked_for(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    assert len(split_chunks(payload)) == 4
    a.offer(first, payload)
    assert a.expect(Grant).chunks == ()
    a.upload(1, payload, 1, 2)
    a.offer(first, payload)  # as after a lost link
    assert a.expect(Grant).chunks == ((0, 0), (3, 3))
    a.upload(1, payload, 0, 3)
    assert a.expect(Accepted | Rejected) == Accepted(1, first.epoch)  # type: ignore[arg-type]


def test_another_update_begins_from_nothing(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload, other = lab.payload(a, first, 1.0), lab.payload(a, first, 2.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 1, 2)
    a.offer(first, other)
    assert a.expect(Grant).chunks == ()
    a.upload(1, other)
    assert a.expect(Accepted | Rejected) == Accepted(1, first.epoch)  # type: ignore[arg-type]


def test_chunks_that_come_again_and_again_are_refused_in_the_end(large_lab: Lab) -> None:
    lab = large_lab
    _, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    for _ in range(20):
        a.upload(1, payload, 1)
    verdict = a.expect(Rejected)
    assert verdict.reason is RejectReason.QUOTA_EXCEEDED
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)


def test_an_offer_that_is_said_again_while_it_is_judged_is_judged_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    judge = AcceptancePool._judge

    def slowly(pool: AcceptancePool, upload: Any, *rest: Any) -> None:
        judged.append("once")
        time.sleep(0.3)
        judge(pool, upload, *rest)

    monkeypatch.setattr(AcceptancePool, "_judge", slowly)
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload)
    for _ in range(20):
        a.offer(first, payload)
    assert a.expect(Accepted) == Accepted(1, first.epoch)
    assert judged == ["once"]


def test_a_round_that_closes_while_a_late_update_is_judged_is_no_fault_of_ours(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = UpdateStore.write_aside

    def slowly(store: UpdateStore, number: int, device: str, numbers: Any) -> Path:
        if device == "b" and number == 1:
            time.sleep(0.5)
        return write(store, number, device, numbers)

    monkeypatch.setattr(UpdateStore, "write_aside", slowly)
    life, a, b, first = begin(lab, buffer=1, rounds=3)
    mine, other = lab.payload(a, first, 1.0), lab.payload(b, first, 2.0)
    b.offer(first, other)
    b.expect(Grant)
    b.upload(1, other)
    assert a.deliver(first, mine) == Accepted(1, first.epoch)
    second = b.expect(RoundAnnouncement)
    assert second.round == 2
    time.sleep(0.6)
    assert life.alive
    b.offer(msgspec.structs.replace(first, epoch=second.epoch), other)
    assert b.expect(Accepted) == Accepted(1, second.epoch)


# Who may take part


def test_a_device_that_keeps_failing_is_quarantined_and_the_round_goes_on(lab: Lab) -> None:
    life, a, b, round_ = begin(lab, rounds=20, quorum=0.4)
    for _ in range(5):
        bad = nan(lab, a, round_)
        verdict = a.deliver(round_, bad)
        assert isinstance(verdict, Rejected)
        good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
        assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
        round_ = b.expect(RoundAnnouncement)
    word = a.expect(NotAdmitted)
    assert word.reason is RejectReason.QUARANTINED
    assert "5 failures in a row, the last: not-finite" in word.detail
    good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
    assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
    assert b.expect(RoundAnnouncement).selected == ("b",)
    Registry(lab.disk).readmit("a")
    assert "a is kept out: 5 failures in a row" in lab.notes()
    life.after(2.0)
    wait_for(lambda: life.service._engine.is_present("a"))


def test_chunks_that_a_stranger_put_among_a_devices_own_are_not_held_against_it(
    large_lab: Lab,
) -> None:
    lab = large_lab
    _, a, b, round_ = begin(lab, rounds=20, quorum=0.4)
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    for _ in range(6):
        payload = lab.payload(a, round_, 1.0)
        a.offer(round_, payload)
        a.expect(Grant)
        chunks = split_chunks(payload)
        stranger.publish(TOPICS.update_chunk("a", round_.round, 0), bytes(len(chunks[0])))
        a.upload(round_.round, payload, 1, 2, 3)
        assert a.expect(Rejected).reason is RejectReason.WRONG_DIGEST
        good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
        assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
        round_ = b.expect(RoundAnnouncement)
    row = Registry(lab.disk).find("a")
    assert row is not None
    assert (row.standing, row.failures) == (Standing.ENROLLED, 0)
    stranger.close()


def test_a_revoked_device_is_heard_no_more_and_a_replayed_upload_changes_nothing(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    before = lab.journal().members(1)
    a.offer(first, payload)
    assert a.expect(Accepted) == Accepted(1, first.epoch)
    a.upload(1, payload)
    assert lab.journal().members(1) == before
    Registry(lab.disk).revoke("a")
    life.after(2.0)
    wait_for(lambda: "a is kept out: by command" in lab.notes())
    a.offer(first, payload)
    assert not [m for m in a.quiet() if not isinstance(m, NotAdmitted)]
    wait_for(lambda: life.service.ignored[RejectReason.REVOKED] > 0)
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)


def test_a_flood_on_one_name_does_not_slow_the_others(lab: Lab) -> None:
    life, a, b, first = begin(lab, quotas=QuotaPolicy(burst_messages=20))
    for _ in range(100):
        a.link.publish(TOPICS.device("a", "event"), b"x", qos=0)
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)
    wait_for(lambda: life.service.ignored[RejectReason.QUOTA_EXCEEDED] > 0)


# Updates that are refused


def nan(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    tensors = lab.moved(1.0)
    tensors["head.bias"][1] = np.nan
    return seal_tensors(lab.codec.encode(tensors, device.label(round_)), key_of(device.name))


def too_far(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    payload = lab.codec.encode(lab.moved(1e6), device.label(round_))
    return seal_tensors(payload, key_of(device.name))


def relabelled(**changes: object) -> Callable[[Lab, Device, RoundAnnouncement], bytes]:
    def make(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
        label = msgspec.structs.replace(device.label(round_), **changes)
        return seal_tensors(lab.codec.encode(lab.moved(1.0), label), key_of(device.name))

    return make


def personal(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    """The personal group where the shared one is due."""
    codec = SharedCodec(lab.bundle.manifest.layout(Group.PERSONAL))
    own = lab.bundle.initial_weights(Group.PERSONAL)
    return seal_tensors(codec.encode(own, device.label(round_)), key_of(device.name))


def other_shape(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    turned = tuple(msgspec.structs.replace(s, shape=s.shape[::-1]) for s in lab.codec.layout)
    tensors = {name: np.ascontiguousarray(w.T) for name, w in lab.moved(1.0).items()}
    payload = SharedCodec(turned).encode(tensors, device.label(round_))
    return seal_tensors(payload, key_of(device.name))


def a_model(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return seal_tensors(lab.codec.encode(lab.moved(1.0), ModelLabel(0)), key_of(device.name))


def garbage(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return b"garbage" * 20


def damaged(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    content = bytearray(lab.payload(device, round_, 1.0))
    content[-1 - SIGNATURE_BYTES] ^= 1
    return bytes(content)


def unsigned(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return lab.codec.encode(lab.moved(1.0), device.label(round_))


def signed_by_another(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return seal_tensors(unsigned(lab, device, round_), key_of("somebody"))


REFUSED = {
    "NaN": (nan, RejectReason.NOT_FINITE),
    "too far": (too_far, RejectReason.NORM_EXCEEDED),
    "wrong base": (relabelled(base="0" * 64), RejectReason.WRONG_BASE),
    "another round": (relabelled(round=7), RejectReason.LATE),
    "another device's name": (relabelled(device="b"), RejectReason.MALFORMED),
    "no sample": (relabelled(samples=0), RejectReason.SAMPLES_EXCEEDED),
    "too many samples": (relabelled(samples=1001), RejectReason.SAMPLES_EXCEEDED),
    "personal tensors": (personal, RejectReason.WRONG_TENSORS),
    "other shapes": (other_shape, RejectReason.WRONG_TENSORS),
    "a model": (a_model, RejectReason.MALFORMED),
    "garbage": (garbage, RejectReason.MALFORMED),
    "a flipped bit": (damaged, RejectReason.WRONG_DIGEST),
    "no signature": (unsigned, RejectReason.WRONG_SIGNATURE),
    "another's signature": (signed_by_another, RejectReason.WRONG_SIGNATURE),
}


def assert_refused(
    lab: Lab, life: Life, a: Device, b: Device, first: RoundAnnouncement, reason: RejectReason
) -> None:
    """Told to its device, journaled with its reason, and without effect on the model."""
    verdict = a.expect(Rejected)
    assert (verdict.round, verdict.epoch, verdict.reason) == (1, first.epoch, reason)
    assert verdict.detail
    assert lab.statuses()["a"] == "rejected"
    assert lab.rejects() == {reason: 1}
    b.deliver(first, lab.payload(b, first, 3.0))
    second = b.expect(RoundAnnouncement)
    model = b.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 3.0, rtol=1e-6)
    metrics = lab.metrics()
    assert metrics.rejected == {reason: 1}
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert life.alive


@pytest.mark.parametrize("name", REFUSED)
def test_an_update_that_does_not_pass_is_refused_and_journaled_with_its_reason(
    lab: Lab, name: str
) -> None:
    make, reason = REFUSED[name]
    policy = ValidationPolicy(max_samples=1000, max_update_norm=1e3)
    life, a, b, first = begin(lab, rounds=2, validation=policy)
    payload = make(lab, a, first)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload)
    assert_refused(lab, life, a, b, first, reason)
    assert lab.metrics().uplink_bytes > len(payload)


def test_an_offer_from_another_model_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.offer(first, lab.payload(a, first, 1.0), base="0" * 64)
    assert_refused(lab, life, a, b, first, RejectReason.WRONG_BASE)


def test_an_offer_of_more_bytes_than_any_update_has_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    huge = TransferReference(1 << 40, "a" * 64)
    report = LocalReport(10)
    a.tell(UpdateReady(1, first.epoch, "boot", first.model.digest, huge, report))
    assert_refused(lab, life, a, b, first, RejectReason.TOO_LARGE)


def test_other_bytes_than_offered_are_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, lab.payload(a, first, 2.0))
    assert_refused(lab, life, a, b, first, RejectReason.WRONG_DIGEST)


def test_a_chunk_that_the_offer_does_not_have_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.offer(first, lab.payload(a, first, 1.0))
    a.expect(Grant)
    a.link.publish(TOPICS.update_chunk("a", 1, 5), b"")
    assert_refused(lab, life, a, b, first, RejectReason.MALFORMED)


def test_a_refused_device_that_offers_again_stays_refused(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    bad = nan(lab, a, first)
    a.deliver(first, bad)
    a.offer(first, lab.payload(a, first, 1.0))
    assert a.expect(Rejected).reason is RejectReason.DUPLICATE
    b.deliver(first, lab.payload(b, first, 3.0))
    b.expect(RoundAnnouncement)
    metrics = lab.metrics()
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert lab.statuses()["a"] == "rejected"
    assert life.alive


# Strangers


def test_chunks_that_nobody_asked_for_change_nothing(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    c = lab.device("c")
    payload = lab.payload(a, first, 5.0)
    a.upload(1, payload)  # not offered
    c.upload(1, payload)  # not selected
    a.upload(9, payload)  # no such round
    for device in (a, b):
        assert device.deliver(first, lab.payload(device, first, 1.0)) == Accepted(1, first.epoch)
    model = b.fetch(b.expect(RoundAnnouncement))
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 1.0, rtol=1e-6)
    assert lab.rejects() == {}
    assert life.alive


def _changed(payload: bytes) -> st.SearchStrategy[bytes]:
    """A valid message, some of whose bytes are others."""

    def change(flips: list[tuple[int, int]]) -> bytes:
        content = bytearray(payload)
        for position, flip in flips:
            content[position] ^= flip
        return bytes(content)

    position = st.integers(0, len(payload) - 1)
    flips = st.lists(st.tuples(position, st.integers(1, 255)), min_size=1, max_size=4)
    return flips.map(change)


LEAVES = st.sampled_from(["status", "event"])


def test_bytes_that_are_no_message_are_counted_and_never_raise(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    sent = 0

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(LEAVES, st.binary(min_size=1, max_size=300))
    def send(leaf: str, payload: bytes) -> None:
        nonlocal sent
        stranger.publish(TOPICS.device("x", leaf), payload)
        sent += 1

    send()
    wait_for(lambda: sum(life.service.ignored.values()) == sent)
    assert set(life.service.ignored) <= {RejectReason.NOT_SIGNED, RejectReason.NOT_ENROLLED}
    for device in (a, b):
        assert device.deliver(first, lab.payload(device, first, 1.0)) == Accepted(1, first.epoch)
    assert finish(lab, life).accepted == 2
    stranger.close()


def test_a_message_of_any_length_is_bounded(lab: Lab) -> None:
    life, a, _, _ = begin(lab)
    a.link.close()
    nested = b"[" * 500_000
    huge = MemoryLink(lab.broker, "huge", largest_packet_bytes=16 << 20)
    huge.start()
    huge.publish(TOPICS.device("x", "event"), nested)
    huge.publish(TOPICS.device("x", "status"), bytes(5 << 20))
    wait_for(lambda: sum(life.service.ignored.values()) == 2)
    assert life.service.ignored[RejectReason.TOO_LARGE] == 1
    huge.close()


def test_no_message_on_any_topic_ends_the_process(lab: Lab) -> None:
    life, a, b, first = begin(lab, participants=2)
    payload = lab.payload(a, first, 1.0)
    digest = lab.bundle.manifest.digest
    report = LocalReport(10, 0.5, 0.5, 1.0)
    offer = UpdateReady(1, first.epoch, "boot", digest, describe_transfer(payload), report)
    valid: dict[str, list[msgspec.Struct]] = {
        "status": [
            DeviceStatus(Presence.ONLINE, "boot", digest, "onnxruntime", 10, key_of("x").public)
        ],
        "event": [
            offer,
            Evaluated(1, first.epoch, "boot", report),
            RoundFailed(1, first.epoch, "boot", "no"),
            PhaseProgress(1, 0, 2, TrainableSet.ALL, 0, 1, None),
        ],
    }
    texts = LEAVES.flatmap(
        lambda leaf: st.tuples(
            st.sampled_from(["a", "x", "y"]).map(lambda name: TOPICS.device(name, leaf)),
            st.sampled_from(valid[leaf]).flatmap(
                lambda m: st.just(encode_message(m)) | _changed(encode_message(m))
            )
            | st.binary(max_size=50),
        )
    )
    by_members = st.sampled_from(["a", "x", "y"]).flatmap(
        lambda name: LEAVES.flatmap(
            lambda leaf: st.tuples(
                st.just(TOPICS.device(name, leaf)),
                st.sampled_from(valid[leaf]).flatmap(
                    lambda m: (
                        st.just(signed(m, TOPICS.device(name, leaf), name))
                        | _changed(signed(m, TOPICS.device(name, leaf), name))
                    )
                ),
            )
        )
    )
    chunks = st.tuples(
        st.builds(
            TOPICS.update_chunk, st.sampled_from(["a", "x"]), st.integers(0, 3), st.integers(0, 3)
        ),
        st.just(payload) | _changed(payload) | st.binary(max_size=50),
    )
    odd = st.tuples(
        st.sampled_from(
            [
                "pfedfrz-bin/v1/lab/device/a/update/1/x",
                "pfedfrz-bin/v1/lab/device/a/update/1/99999999999",
                "pfedfrz-bin/v1/lab/device/é/update/1/0",
                "pfedfrz/v1/lab/device/-/status",
            ]
        ),
        st.binary(max_size=50),
    )
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(texts | by_members | chunks | odd, max_size=6))
    def send(messages: list[tuple[str, bytes]]) -> None:
        for topic, content in messages:
            stranger.publish(topic, content)
        assert life.alive

    send()
    # A round later it is as good as ever: whatever was made of device a, b is served.
    again = first
    for message in b.quiet():
        if isinstance(message, RoundAnnouncement):
            again = message
    assert b.deliver(again, lab.payload(b, again, 1.0)) == Accepted(1, again.epoch)
    assert life.fault is None
    stranger.close()


# A person's wishes


def test_paused_it_opens_no_round_until_it_is_resumed(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    life.service.request(DesiredState.PAUSE)
    wait_for(
        lambda: (
            open_message(lab.broker.retained()[TOPICS.control], Control).desired
            is DesiredState.PAUSE
        )
    )
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    assert not [m for m in a.quiet() if isinstance(m, RoundAnnouncement)]
    life.service.request(DesiredState.RUN)
    assert a.expect(RoundAnnouncement).round == 2


def test_stopped_it_tells_everybody_and_ends(lab: Lab) -> None:
    life, a, _, _ = begin(lab, rounds=5)
    life.service.request(DesiredState.STOP)
    assert life.result() is True
    while (control := a.expect(Control)).desired is not DesiredState.STOP:
        pass
    assert control.desired is DesiredState.STOP
    assert TOPICS.round not in lab.broker.retained()


def test_interrupted_it_ends_but_the_federation_goes_on(lab: Lab) -> None:
    life, _, _, _ = begin(lab)
    life.end()
    assert life.finished is False
    retained = lab.broker.retained()
    assert TOPICS.round in retained
    assert open_message(retained[TOPICS.control], Control).desired is DesiredState.RUN


def test_a_coordinator_that_vanishes_is_offline_by_its_will_and_online_when_it_is_back(
    lab: Lab,
) -> None:
    begin(lab)

    def presence() -> Presence:
        payload = lab.broker.retained()[TOPICS.coordinator_status]
        return open_message(payload, CoordinatorStatus).presence

    assert presence() is Presence.ONLINE
    lab.broker.drop("coordinator", stay_away=True)
    assert presence() is Presence.OFFLINE
    lab.broker.let_in("coordinator")
    assert presence() is Presence.ONLINE
