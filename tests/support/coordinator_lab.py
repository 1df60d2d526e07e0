"""A coordinator on an in-memory broker with a disk of its own; a test plays its devices by hand."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from identities import COORDINATOR, identity_of, key_of, signed

from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.instruments import Instruments
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.service import CoordinatorService, coordinator_will
from pfedfrz_coordinator.validation import ValidationPolicy
from pfedfrz_protocol import (
    Accepted,
    Bundle,
    Command,
    Control,
    DeviceStatus,
    Grant,
    Group,
    LocalReport,
    Parameters,
    Presence,
    Reassembly,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundMetrics,
    SharedCodec,
    Topics,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    open_message,
    open_tensors,
    seal_tensors,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

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
        self.instruments: Instruments | None = None
        self.devices: list[Device] = []
        self.lives: list[Life] = []
        self.initial = bundle.initial_weights(Group.SHARED)

    def coordinator(self, *, connect: bool = True, **changes: Any) -> "Life":
        """Begin a life of the coordinator; `changes` are of the round policy."""
        policy: dict[str, Any] = {"rounds": 1, "start_devices": 2, "evaluate": False}
        policy.update(changes)
        validation = policy.pop("validation", ValidationPolicy(max_samples=1000))
        quotas = policy.pop("quotas", QuotaPolicy())
        operators = policy.pop("operators", None)
        configuration = CoordinatorSettings(
            federation="lab",
            bundle=Path("unused"),
            state_dir=self.disk,
            connect_timeout_s=0.2 if not connect else 30.0,
            rounds=RoundPolicy(**policy),
            validation=validation,
            quotas=quotas,
            operators=operators,
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
                instruments=self.lab.instruments,
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


def nan(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    """An update with one weight that is no number."""
    tensors = lab.moved(1.0)
    tensors["head.bias"][1] = np.nan
    return seal_tensors(lab.codec.encode(tensors, device.label(round_)), key_of(device.name))
