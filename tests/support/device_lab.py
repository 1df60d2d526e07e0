"""A device on an in-memory broker with a disk of its own; a test plays its coordinator by hand."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from identities import COORDINATOR, identity_of, key_of, signed
from numpy.typing import NDArray

from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.conditions import ConditionWatch
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LocalData
from pfedfrz_edge.local_training import LocalTraining, LocalUpdate
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_edge.publisher import device_will
from pfedfrz_edge.runtimes import Runtime, StepResult
from pfedfrz_protocol import (
    Accepted,
    Bundle,
    Command,
    Control,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Encoding,
    Grant,
    Group,
    Heartbeat,
    ModelLabel,
    ModelReference,
    Parameters,
    Purpose,
    Reassembly,
    RoundAnnouncement,
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
from pfedfrz_transport import LinkLimits, MemoryBroker, MemoryLink, Message

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


def assert_same(found: Parameters, expected: Parameters) -> None:
    assert set(found) == set(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)
