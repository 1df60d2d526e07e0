"""Messages of a small federation, as its members would send them."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from identities import COORDINATOR, key_of, signed

from pfedfrz_monitor import FederationView
from pfedfrz_protocol import (
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Evaluated,
    LocalReport,
    ModelReference,
    PhaseProgress,
    Presence,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundMetrics,
    Topics,
    TrainableSet,
    TransferReference,
    UpdateReady,
)

DIGEST = "0" * 64
TRANSFER = TransferReference(10, DIGEST)


@dataclass
class Speaker:
    """Speaks for every member of a federation, into a view of it."""

    view: FederationView = field(default_factory=lambda: FederationView(Topics("lab")))

    def __post_init__(self) -> None:
        self.coordinator()

    def coordinator(self, presence: Presence = Presence.ONLINE) -> None:
        status = CoordinatorStatus(presence, DIGEST, 1, key_of(COORDINATOR).public)
        self.say(self.view.topics.coordinator_status, status)

    def say(self, topic: str, message: msgspec.Struct, name: str = COORDINATOR) -> None:
        self.view.see(topic, signed(message, topic, name))

    def status(
        self,
        device: str,
        presence: Presence = Presence.ONLINE,
        waiting_for: str = "",
        label_counts: tuple[int, ...] = (),
    ) -> None:
        message = DeviceStatus(
            presence, "boot", DIGEST, "onnxruntime", 60, key_of(device).public,
            waiting_for=waiting_for, label_counts=label_counts,
        )  # fmt: skip
        self.say(self.view.topics.device(device, "status"), message, device)

    def control(self, desired: DesiredState) -> None:
        self.say(self.view.topics.control, Control(desired, 1))

    def announce(
        self, number: int, *devices: str, epoch: int = 1, purpose: Purpose = Purpose.TRAIN
    ) -> None:
        for device in devices:
            if device not in self.view.devices:
                self.status(device)
        model = ModelReference(number - 1, DIGEST, TRANSFER)
        message = RoundAnnouncement(number, epoch, DIGEST, purpose, model, devices, 30.0)
        self.say(self.view.topics.round, message)

    def event(self, device: str, message: msgspec.Struct) -> None:
        if device not in self.view.devices:
            self.status(device)
        self.say(self.view.topics.device(device, "event"), message, device)

    def progress(self, device: str, number: int) -> None:
        self.event(device, PhaseProgress(number, 1, 2, TrainableSet.ALL, 0, 3, 0.5))

    def ready(self, device: str, number: int, received: float | None, local: float | None) -> None:
        report = LocalReport(60, received, local, 1.25)
        self.event(device, UpdateReady(number, 1, "boot", DIGEST, TRANSFER, report))

    def evaluated(self, device: str, number: int, received: float, local: float | None) -> None:
        self.event(device, Evaluated(number, 1, "boot", LocalReport(60, received, local)))

    def failed(self, device: str, number: int, detail: str, epoch: int = 1) -> None:
        self.event(device, RoundFailed(number, epoch, "boot", detail))

    def rejected(self, device: str, number: int, reason: RejectReason, detail: str) -> None:
        topic = self.view.topics.device(device, "command")
        self.say(topic, Rejected(number, 1, reason, detail))

    def close(
        self,
        number: int,
        accepted: int,
        selected: int,
        purpose: Purpose = Purpose.TRAIN,
        rejected: dict[RejectReason, int] | None = None,
        norms: dict[str, float] | None = None,
        cosines: dict[str, float] | None = None,
    ) -> None:
        message = RoundMetrics(
            number, purpose, number - 1, selected, accepted, rejected or {}, 0,
            None, None, None, 1_250_000, 2_500_000, 1.5, norms or {},
            update_cosines=cosines or {},
        )  # fmt: skip
        self.say(self.view.topics.metrics, message)
