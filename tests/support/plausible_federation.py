"""A federation whose numbers look like a real one's, for what is drawn: no device, no broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from identities import COORDINATOR, key_of

from pfedfrz_monitor import FederationView
from pfedfrz_monitor.watch import Health
from pfedfrz_protocol import (
    Accepted,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Evaluated,
    LocalReport,
    Membership,
    ModelReference,
    OperatorAction,
    OperatorAnswer,
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
from pfedfrz_transport import Traffic

__all__ = ["PlausibleFederation", "StillWatch"]

_DIGEST = "0" * 64
_TRANSFER = TransferReference(10, _DIGEST)


@dataclass
class StillWatch:
    """A watch whose view only moves when a test moves it."""

    view: FederationView
    may_act: bool = False
    health: Health = field(
        default_factory=lambda: Health("mqtt://127.0.0.1:1883", True, heard=True)
    )
    asked: list[OperatorAction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def start(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to end."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[FederationView]:
        """The view, held."""
        with self._lock:
            yield self.view

    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        """Done at once."""
        self.asked.append(action)
        answer = Future[OperatorAnswer]()
        answer.set_result(OperatorAnswer(1, len(self.asked), True, "done"))
        return answer

    def count(self, messages: int) -> None:
        """Say that so many messages have come."""
        self.health = Health(
            self.health.source, True, heard=True, traffic=Traffic(received_messages=messages)
        )


@dataclass
class PlausibleFederation:
    """Rounds that get better, a few attackers that pull against them, and what goes wrong."""

    devices: int = 12
    attackers: int = 2
    name: str = "greenhouse"
    seed: int = 1
    labels: int = 10
    start_s: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        self.now = self.start_s
        self.random = np.random.default_rng(self.seed)
        self.view = FederationView(Topics(self.name), clock=lambda: self.now)
        self.names = [
            f"board-{index:0{len(str(self.devices))}d}" for index in range(1, self.devices + 1)
        ]
        self.bad = set(self.random.permutation(self.names)[: self.attackers].tolist())
        self.offset = {name: self.random.normal(0, 0.045) for name in self.names}
        key = key_of(COORDINATOR).public
        self.view.on_coordinator(CoordinatorStatus(Presence.ONLINE, _DIGEST, 1, key))
        self.view.on_control(Control(DesiredState.RUN, 1))

    def arrive(self, *, share_labels: bool = True) -> None:
        """All devices say that they are there."""
        for name in self.names:
            mix = self.random.dirichlet([0.3] * self.labels)
            samples = int(self.random.integers(80, 600))
            counts = tuple(int(part) for part in self.random.multinomial(samples, mix))
            self.view.on_status(name, self.status(name, counts if share_labels else ()))
            self.now += 0.05

    def status(
        self,
        name: str,
        counts: tuple[int, ...] = (),
        presence: Presence = Presence.ONLINE,
        why: str = "",
    ) -> DeviceStatus:
        """A status of a device."""
        return DeviceStatus(
            presence, "boot", _DIGEST, "onnxruntime", max(1, sum(counts)), key_of("device").public,
            waiting_for=why, label_counts=counts,
        )  # fmt: skip

    def open(
        self, number: int, purpose: Purpose = Purpose.TRAIN, share: float = 1.0, epoch: int = 1
    ) -> list[str]:
        """Open a round for that share of the devices."""
        here = [name for name in self.names if self.view.devices[name].presence is Presence.ONLINE]
        chosen = self.random.choice(here, max(1, int(len(here) * share)), replace=False)
        names = sorted(chosen.tolist())
        model = ModelReference(number - 1, _DIGEST, _TRANSFER)
        self.view.on_announcement(
            RoundAnnouncement(number, epoch, _DIGEST, purpose, model, tuple(names), 60.0)
        )
        return names

    def report(self, name: str, number: int) -> LocalReport:
        """What a device measures in that round."""
        learnt = 1 - np.exp(-number / 6)
        received = 0.32 + 0.5 * learnt + self.offset[name] + self.random.normal(0, 0.02)
        local = 0.70 + 0.245 * learnt + 0.6 * self.offset[name] + self.random.normal(0, 0.012)
        if name in self.bad:
            received, local = received - 0.12, local - 0.2
        size = 210_000
        return LocalReport(
            100, float(np.clip(received, 0, 1)), float(np.clip(local, 0, 0.995)),
            float(1.4 * np.exp(-number / 8)), size, float(self.random.gamma(9, 0.4)), 0.4,
        )  # fmt: skip

    def train(self, name: str, number: int, epoch: int = 0) -> None:
        """A device is at work."""
        event = PhaseProgress(number, 1, 2, TrainableSet.ALL, epoch, 3, 0.5)
        self.view.on_event(name, event)

    def deliver(self, name: str, number: int, *, accept: bool = True) -> None:
        """A device's update is ready, and accepted."""
        report = self.report(name, number)
        self.view.on_event(name, UpdateReady(number, 1, "boot", _DIGEST, _TRANSFER, report))
        if accept:
            self.view.on_command(name, Accepted(number, 1))

    def reject(self, name: str, number: int, reason: RejectReason, detail: str) -> None:
        """A device's update is turned away."""
        self.view.on_command(name, Rejected(number, 1, reason, detail))

    def fail(self, name: str, number: int, detail: str) -> None:
        """A device could not train."""
        self.view.on_event(name, RoundFailed(number, 1, "boot", detail))

    def close(self, number: int, purpose: Purpose = Purpose.TRAIN) -> None:
        """Close a round with the numbers of what was delivered."""
        here = self.view.rounds[number]
        reports = [cell.report for cell in here.cells.values() if cell.report]
        accepted = [
            n for n, cell in here.cells.items() if cell.outcome and cell.outcome.value == "accepted"
        ]
        rejected = [
            n for n, cell in here.cells.items() if cell.outcome and cell.outcome.value == "rejected"
        ]
        size = 2.4 * np.exp(-number / 14) + 0.5
        norms, cosines = {}, {}
        for name in accepted:
            bad = name in self.bad
            norms[name] = float(size * (1.6 if bad else 1) * self.random.lognormal(0, 0.13))
            cosines[name] = float(np.clip(self.random.normal(-0.62 if bad else 0.66, 0.08), -1, 1))
        mean = lambda values: float(np.mean(values)) if values else None  # noqa: E731
        self.view.on_metrics(
            RoundMetrics(
                number,
                purpose,
                number - 1,
                len(here.selected),
                len(accepted),
                {RejectReason.NORM_EXCEEDED: len(rejected)} if rejected else {},
                len(here.selected) - len(accepted) - len(rejected)
                if purpose is Purpose.TRAIN
                else 0,
                mean([r.received for r in reports if r.received is not None]),
                mean([r.local for r in reports if r.local is not None]),
                mean([r.loss for r in reports if r.loss is not None]),
                198_000 * len(accepted),
                210_000 * len(here.selected),
                float(8 + self.random.gamma(4, 1.2)),
                norms,
                update_cosines=cosines,
                train_s=sum(r.train_s for r in reports),
                evaluate_s=0.0,
            )
        )

    def round(self, number: int, share: float = 1.0) -> None:
        """A whole round, with an accident now and then."""
        names = self.open(number, share=share)
        for name in names:
            self.now += 10.0 / max(10, len(names))
            luck = self.random.random()
            if name in self.bad and luck < 0.18:
                self.reject(
                    name, number, RejectReason.NORM_EXCEEDED, "norm 48.2 over the bound of 12"
                )
            elif luck > 0.992:
                self.fail(name, number, "CUDA ran out of memory in phase 2")
            elif luck < 0.975:
                self.deliver(name, number)
        self.close(number)

    def go(self, rounds: int, share: float = 1.0) -> None:
        """Arrive, and so many rounds."""
        self.arrive()
        for number in range(1, rounds + 1):
            self.round(number, share)

    def evaluate(self, number: int) -> None:
        """The closing evaluation, and the end."""
        for name in self.open(number, Purpose.EVALUATE):
            report = self.report(name, number)
            self.view.on_event(name, Evaluated(number, 1, "boot", report))
        self.close(number, Purpose.EVALUATE)
        self.view.on_control(Control(DesiredState.STOP, 1))

    def members(self, **lists: object) -> None:
        """What the coordinator says of who is in."""
        said = {
            "enrolled": self.devices,
            "waiting": (),
            "quarantined": {},
            "revoked": (),
            "joining": False,
        }
        self.view.on_membership(Membership(**{**said, **lists}))  # type: ignore[arg-type]
