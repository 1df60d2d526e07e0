"""What a report is made of: plain records that a run fills in and a test can write by hand."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "Closing",
    "DeviceRecord",
    "Moment",
    "Part",
    "Refusal",
    "RoundRecord",
    "RunRecord",
    "RunSettings",
    "RunState",
]

Accuracies = tuple[float | None, ...]
"""Shares from 0 to 1; None where a device did not measure or did not report."""


class Moment(str, enum.Enum):
    """When personalised accuracy is measured."""

    RECEIVED = "received"
    """With the new shared weights and the device's own personal ones, before local training."""
    LOCAL = "local"
    """After local training."""


class RunState(str, enum.Enum):
    """Whether there is more to come."""

    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """It can go on: nobody runs it now, and its rounds are not over."""


@dataclass(frozen=True)
class RunSettings:
    """What was asked for; None where nobody knows, as of real boards."""

    method: str | None
    dataset: str | None
    alpha: float | None
    """Concentration of a Dirichlet label mix; None for every other split."""
    model: str | None
    personal: str | None
    """The partition as it was asked for: a preset's name, or patterns joined by commas."""
    devices: int
    attackers: int | None
    attack: str | None
    """None without attackers."""
    rounds: int | None
    seed: int | None
    runtime: str | None
    broker: str | None
    command: str
    """The command line that makes the run again; empty where there is none."""
    split: str = ""
    """What the split is called; empty where only alpha is known."""
    dataset_source: str = ""
    started_at: str = ""
    """Wall clock time with its zone, for people."""
    faults: str | None = "calm"
    """What was to go wrong on purpose; None where nobody had that in mind."""
    federation: str = ""
    """Its name on the topics."""
    details: tuple[tuple[str, str], ...] = ()
    """Further settings, name and value, shown as they are."""

    @property
    def has_other_split(self) -> bool:
        """Whether the split is neither by a Dirichlet label mix nor even."""
        return self.alpha is None and self.split not in ("", "iid")


@dataclass(frozen=True)
class RoundRecord:
    """One round that was closed."""

    round: int
    started_s: float
    """Seconds since the run began."""
    duration_s: float
    participants: int
    accepted: int
    rejected: int
    uplink_bytes: int
    downlink_bytes: int
    train_loss: float | None = None
    """Mean over the benign devices that reported one."""
    missing: int = 0
    """Devices that neither answered nor failed."""
    train_s: float = 0.0
    """Seconds of training, summed over the devices that reported."""
    evaluate_s: float = 0.0
    """Seconds of measuring, likewise."""
    opened_at: float | None = None
    """Unix seconds of the coordinator's clock."""
    closed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One device's part in one round."""

    outcome: str
    """As the journal has it: selected, offered, reported, accepted, rejected or failed."""
    norm: float | None = None
    """L2 norm of its update's step, of an accepted update."""
    cosine: float | None = None
    """Cosine between its update's step and the mean of the others'."""
    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    train_s: float = 0.0
    evaluate_s: float = 0.0
    loss: float | None = None
    stale: int = 0
    """How many rounds before this one its update was made."""


@dataclass(frozen=True)
class Refusal:
    """An update that was refused."""

    round: int
    device: str
    reason: str
    detail: str
    uploaded_bytes: int
    at: float
    """Unix seconds of the coordinator's clock."""


@dataclass(frozen=True)
class DeviceRecord:
    """One device; `received` and `local` have an entry for each of the run's round records.

    So has `parts`, unless nothing is known of them.
    """

    device: str
    attacker: bool
    samples: int
    label_mix: tuple[float, ...]
    """q_ik: the share of each label among the device's training samples; empty where unknown."""
    received: Accuracies = ()
    local: Accuracies = ()
    parts: tuple[Part | None, ...] = ()
    standing: str = ""
    """What the coordinator makes of it, where that is not that it is enrolled."""

    def accuracy(self, moment: Moment) -> Accuracies:
        """The device's accuracy in every round."""
        return self.received if moment is Moment.RECEIVED else self.local


@dataclass(frozen=True)
class Closing:
    """The evaluation of the last model, after the last round; one entry for each device."""

    received: Accuracies
    local: Accuracies
    uplink_bytes: int = 0
    downlink_bytes: int = 0

    def accuracy(self, moment: Moment) -> Accuracies:
        """The accuracy of every device."""
        return self.received if moment is Moment.RECEIVED else self.local


@dataclass(frozen=True)
class RunRecord:
    """A whole run. ValueError when the parts do not fit together."""

    settings: RunSettings
    devices: tuple[DeviceRecord, ...]
    rounds: tuple[RoundRecord, ...]
    wall_s: float
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rejected updates by reason."""
    closing: Closing | None = None
    notes: tuple[str, ...] = ()
    """What a reader has to know: samples left out, devices that died, an interrupted run."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """What went wrong on purpose, by kind and in the plural."""
    refusals: tuple[Refusal, ...] = ()
    """Every refused update, in the order of time; empty where only their number is known."""
    state: RunState = RunState.FINISHED
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions of packages, and the machine."""

    def __post_init__(self) -> None:
        classes = {len(device.label_mix) for device in self.devices}
        if len(classes - {0}) > 1:
            raise ValueError(f"want devices with one number of labels, got {sorted(classes)}")
        for device in self.devices:
            if device.parts and len(device.parts) != len(self.rounds):
                raise ValueError(f"{device.device}: not one part per round")
            for moment in Moment:
                if len(device.accuracy(moment)) != len(self.rounds):
                    raise ValueError(
                        f"{device.device}: {len(device.accuracy(moment))} accuracies "
                        f"({moment.value}) for {len(self.rounds)} rounds"
                    )
        for moment in Moment:
            if self.closing and len(self.closing.accuracy(moment)) != len(self.devices):
                raise ValueError(f"closing evaluation ({moment.value}): not one entry per device")

    @property
    def classes(self) -> int:
        """Number of labels; 0 where nobody shares how they are dealt out."""
        return max((len(device.label_mix) for device in self.devices), default=0)

    @property
    def last_round(self) -> int:
        """The last round that there is or that was asked for; 1 before the first."""
        reached = self.rounds[-1].round if self.rounds else 1
        return max(reached, self.settings.rounds or 1)

    @property
    def is_short(self) -> bool:
        """Whether fewer rounds were completed than were asked for."""
        return len(self.rounds) < (self.settings.rounds or 0)

    @property
    def knows_attackers(self) -> bool:
        """Whether somebody knows who attacks; of real boards nobody does."""
        return self.settings.attackers is not None

    @property
    def name(self) -> str:
        """What the run is about, in two words."""
        settings = self.settings
        of = settings.dataset or settings.federation
        return f"{settings.method or 'federation'}{' on ' if settings.dataset else ' '}{of}".strip()

    @property
    def benign(self) -> tuple[DeviceRecord, ...]:
        """The devices that are not known to attack: the ones that accuracy is reported for."""
        return tuple(device for device in self.devices if not device.attacker)

    @property
    def accepted(self) -> int:
        """Accepted updates of the whole run."""
        return sum(row.accepted for row in self.rounds)

    @property
    def uplink_bytes(self) -> int:
        """Bytes from devices to the coordinator in the whole run."""
        rows = sum(row.uplink_bytes for row in self.rounds)
        return rows + (self.closing.uplink_bytes if self.closing else 0)

    @property
    def downlink_bytes(self) -> int:
        """Bytes from the coordinator to devices in the whole run."""
        rows = sum(row.downlink_bytes for row in self.rounds)
        return rows + (self.closing.downlink_bytes if self.closing else 0)
