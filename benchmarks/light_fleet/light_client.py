"""One device of a fleet as the coordinator sees it: the protocol, and nothing behind it.

It holds every model already and has its update ready at once, so that what is measured is the
coordinator. Decisions only: messages go in, what to publish comes out. All messages are made and
read by the protocol's own functions, here and nowhere else in the fleet. Everything is signed with
a key of the device's own; what the coordinator says is believed without a look at its signature,
which is the work of boards and not of the machine that plays a thousand of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pfedfrz_protocol import (
    Accepted,
    Command,
    DeviceStatus,
    Grant,
    Heartbeat,
    LocalReport,
    ModelReference,
    NotAdmitted,
    Presence,
    RoundAnnouncement,
    SigningKey,
    Topics,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    open_message,
    seal_tensors,
    sign_message,
    split_chunks,
)

from .prepared import PreparedUpdates

__all__ = ["FleetMaterial", "LightClient", "Outgoing", "device_key", "device_name"]

_RUNTIME = "onnxruntime"


def device_name(index: int) -> str:
    """The name of a device of the fleet; all are equally long."""
    return f"light-{index:05d}"


def device_key(index: int) -> SigningKey:
    """The key of a device; the same in every run, so that it can be put on an accept list."""
    return SigningKey.from_seed(hashlib.sha256(device_name(index).encode()).digest())


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A round's announcement, and whom it asks."""

    message: RoundAnnouncement
    selected: frozenset[str]


@dataclass
class FleetMaterial:
    """What the clients of one process share."""

    federation: str
    bundle_digest: str
    updates: PreparedUpdates
    topics: Topics = field(init=False)
    _read: tuple[bytes, Heard] | None = None

    def __post_init__(self) -> None:
        self.topics = Topics(self.federation)

    def read_announcement(self, payload: bytes) -> Heard:
        """The announcement in a payload; what thousands hear at once is read once."""
        if self._read is None or self._read[0] != payload:
            message = open_message(payload, RoundAnnouncement)
            self._read = payload, Heard(message, frozenset(message.selected))
        return self._read[1]


class LightClient:
    """The state of one light client."""

    def __init__(self, index: int, material: FleetMaterial) -> None:
        self.index = index
        self.name = device_name(index)
        self.heard: Heard | None = None
        """The last announcement."""
        self.is_settled = True
        """Whether it has its verdict on the announced round, or was not asked."""
        self.accepted = 0
        self.rejected = 0
        self.granted = 0
        self._material = material
        self._boot_id = f"boot-{index}"
        self._key = device_key(index)
        self._transfer: TransferReference | None = None
        self._is_open = False

    @property
    def client_id(self) -> str:
        """The name for the broker."""
        return f"{self._material.federation}.device.{self.name}"

    @property
    def filters(self) -> tuple[str, ...]:
        """What a device listens to."""
        topics = self._material.topics
        return (
            topics.coordinator_status,
            topics.control,
            topics.round,
            topics.device(self.name, "command"),
        )

    def status(self, presence: Presence) -> Outgoing:
        """The birth message, or the last will."""
        status = DeviceStatus(
            *(presence, self._boot_id, self._material.bundle_digest, _RUNTIME, self._samples),
            self._key.public,
        )
        topic = self._material.topics.device(self.name, "status")
        return Outgoing(topic, sign_message(status, topic, self._key), retain=True)

    def heartbeat(self) -> Outgoing:
        """The sign of life."""
        heartbeat = Heartbeat(self._boot_id, "idle", self.round, 1.0)
        topic = self._material.topics.device(self.name, "heartbeat")
        return Outgoing(topic, sign_message(heartbeat, topic, self._key), qos=0)

    @property
    def _samples(self) -> int:
        return 100 + self.index % 50

    @property
    def round(self) -> int:
        """The number of the announced round; 0 before the first."""
        return self.heard.message.round if self.heard else 0

    @property
    def payload_bytes(self) -> int:
        """The size of the update for the announced round."""
        return self._transfer.payload_bytes if self._transfer else 0

    @property
    def is_selected(self) -> bool:
        """Whether the announced round asks this device."""
        return self.heard is not None and self.name in self.heard.selected

    def hear(self, topic: str, payload: bytes) -> tuple[list[Outgoing], bool]:
        """What a message calls for: what to publish, and whether to upload."""
        topics = self._material.topics
        if topic == topics.round:
            return (self._on_announcement(payload) if payload else []), False
        if topic == topics.device(self.name, "command"):
            return [], self._on_command(payload)
        return [], False

    def _on_announcement(self, payload: bytes) -> list[Outgoing]:
        self.heard = self._material.read_announcement(payload)
        if not self.is_selected:
            return []
        self.is_settled = False
        new = self.heard.message
        if self._is_open:  # opened again while we wait: say it again
            return [self._offer(new)]
        self._transfer = describe_transfer(self.payload(new.round, new.model))
        return []

    def open(self) -> list[Outgoing]:
        """The training is over: offer the update."""
        self._is_open = True
        if self.heard is None or self.is_settled:
            return []
        return [self._offer(self.heard.message)]

    def _offer(self, announcement: RoundAnnouncement) -> Outgoing:
        assert self._transfer is not None
        ready = UpdateReady(
            announcement.round,
            announcement.epoch,
            self._boot_id,
            announcement.model.digest,
            self._transfer,
            LocalReport(self._samples, 0.5, 0.75, 0.9, 0, 1.25, 0.5),
        )
        topic = self._material.topics.device(self.name, "event")
        return Outgoing(topic, sign_message(ready, topic, self._key))

    def _on_command(self, payload: bytes) -> bool:
        command: Command = open_message(payload, Command)  # type: ignore[arg-type]
        if isinstance(command, NotAdmitted):
            raise ConnectionError(f"{self.name} is not admitted: {command.detail}")
        if command.round != self.round:
            return False
        if isinstance(command, Grant):
            self.granted += 1
            return not self.is_settled
        if not self.is_settled:
            self.is_settled = True
            self._is_open = False
            if isinstance(command, Accepted):
                self.accepted += 1
            else:
                self.rejected += 1
        return False

    def payload(self, number: int, model: ModelReference) -> bytes:
        """The update for a round."""
        label = UpdateLabel(self.name, self._boot_id, number, self._samples, model.digest)
        return seal_tensors(self._material.updates.payload(self.index, label), self._key)

    def upload(self, topics: Topics | None = None) -> list[Outgoing]:
        """The chunks of the update in order; under other topics when it is for the yardstick."""
        assert self.heard is not None
        number, model = self.heard.message.round, self.heard.message.model
        topic = (topics or self._material.topics).update_chunk
        chunks = split_chunks(self.payload(number, model))
        return [Outgoing(topic(self.name, number, n), chunk) for n, chunk in enumerate(chunks)]
