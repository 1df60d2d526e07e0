"""What a report is made of: plain records that a run fills in and a test can write by hand."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Closing", "DeviceRecord", "Moment", "RoundRecord", "RunRecord", "RunSettings"]

Accuracies = tuple[float | None, ...]
"""Shares from 0 to 1; None where a device did not measure or did not report."""


class Moment(str, enum.Enum):
    """When personalised accuracy is measured."""

    RECEIVED = "received"
    """With the new shared weights and the device's own personal ones, before local training."""
    LOCAL = "local"
    """After local training."""


@dataclass(frozen=True)
class RunSettings:
    """What was asked for."""

    method: str
    dataset: str
    alpha: float | None
    """Concentration of a Dirichlet label mix; None for every other split."""
    model: str
    personal: str
    """The partition as it was asked for: a preset's name, or patterns joined by commas."""
    devices: int
    attackers: int
    attack: str | None
    """None without attackers."""
    rounds: int
    seed: int
    runtime: str
    broker: str
    command: str
    """The command line that makes the run again."""
    split: str = ""
    """What the split is called; empty where only alpha is known."""
    dataset_source: str = ""
    started_at: str = ""
    """Wall clock time with its zone, for people."""
    faults: str = "calm"
    """What was to go wrong on purpose."""
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


@dataclass(frozen=True)
class DeviceRecord:
    """One device; `received` and `local` have an entry for each of the run's round records."""

    device: str
    attacker: bool
    samples: int
    label_mix: tuple[float, ...]
    """q_ik: the share of each label among the device's training samples."""
    received: Accuracies = ()
    local: Accuracies = ()

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

    def __post_init__(self) -> None:
        classes = {len(device.label_mix) for device in self.devices}
        if len(classes) != 1 or 0 in classes:
            raise ValueError(f"want devices with one number of labels, got {sorted(classes)}")
        for device in self.devices:
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
        """Number of labels."""
        return len(self.devices[0].label_mix)

    @property
    def benign(self) -> tuple[DeviceRecord, ...]:
        """The devices that are no attackers: the ones that accuracy is reported for."""
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
