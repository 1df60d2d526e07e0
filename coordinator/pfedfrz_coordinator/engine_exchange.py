"""What goes into the round engine and what comes out: events and actions."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import (
    Command,
    DesiredState,
    ModelReference,
    Purpose,
    RejectReason,
    RoundAnnouncement,
    TransferReference,
)

__all__ = [
    "Action",
    "Aggregate",
    "AggregationDone",
    "CloseRound",
    "ControlRequested",
    "DeviceAppeared",
    "DeviceBarred",
    "DeviceFailed",
    "DeviceHeard",
    "DeviceLost",
    "DeviceWaits",
    "EvaluationReported",
    "Event",
    "ExpectUpload",
    "Finish",
    "Note",
    "OpenRound",
    "SendCommand",
    "Tick",
    "UpdateOffered",
    "UpdateRefused",
    "UpdateStored",
    "UpdatesLost",
    "UpdatesStored",
    "UploadProgressed",
]


# Events


@dataclass(frozen=True)
class DeviceAppeared:
    """A device with the right bundle is online."""

    device: str


@dataclass(frozen=True)
class DeviceLost:
    """A device is offline."""

    device: str


@dataclass(frozen=True)
class DeviceWaits:
    """A device is there and may not train now: it is not to be selected until it appears."""

    device: str
    waiting_for: str


@dataclass(frozen=True)
class DeviceBarred:
    """A device is not let in any more: revoked or quarantined."""

    device: str
    reason: str


@dataclass(frozen=True)
class DeviceHeard:
    """A device gave a sign of life."""

    device: str


@dataclass(frozen=True)
class UploadProgressed:
    """A chunk of a granted upload came."""

    device: str
    round: int


@dataclass(frozen=True)
class UpdateOffered:
    """A device says that its update is ready."""

    device: str
    round: int
    epoch: int
    base: str
    transfer: TransferReference


@dataclass(frozen=True)
class UpdateStored:
    """A device's update passed validation and is durable."""

    device: str
    round: int


@dataclass(frozen=True)
class UpdatesStored:
    """Several that became durable together: all of them count before the round may close."""

    stored: tuple[UpdateStored, ...]


@dataclass(frozen=True)
class UpdateRefused:
    """A device's update did not pass."""

    device: str
    round: int
    reason: RejectReason
    detail: str


@dataclass(frozen=True)
class UpdatesLost:
    """Accepted updates that turned out to be gone when the model was to be made of them."""

    round: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationReported:
    """A device answered an evaluation round."""

    device: str
    round: int
    epoch: int


@dataclass(frozen=True)
class DeviceFailed:
    """A device cannot do its part in a round."""

    device: str
    round: int
    epoch: int
    detail: str


@dataclass(frozen=True)
class AggregationDone:
    """The next model is made, and durable."""

    model: ModelReference


@dataclass(frozen=True)
class ControlRequested:
    """Somebody wants the federation to run, pause or stop."""

    desired: DesiredState


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    DeviceAppeared
    | DeviceLost
    | DeviceWaits
    | DeviceBarred
    | DeviceHeard
    | UploadProgressed
    | UpdateOffered
    | UpdateStored
    | UpdatesStored
    | UpdateRefused
    | UpdatesLost
    | EvaluationReported
    | DeviceFailed
    | AggregationDone
    | ControlRequested
    | Tick
)


# Actions


@dataclass(frozen=True)
class OpenRound:
    """Write the round down, then publish its model and the announcement."""

    announcement: RoundAnnouncement


@dataclass(frozen=True)
class ExpectUpload:
    """Begin to collect a device's chunks; comes before the grant that is sent to it."""

    device: str
    round: int
    transfer: TransferReference


@dataclass(frozen=True)
class SendCommand:
    """Publish a command to a device."""

    device: str
    command: Command


@dataclass(frozen=True)
class Aggregate:
    """Make the next model of these devices' stored updates.

    The answer is AggregationDone, or UpdatesLost.
    """

    round: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class CloseRound:
    """The round is over: write it down and publish its numbers."""

    round: int
    purpose: Purpose
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """Something a person should know."""

    text: str


@dataclass(frozen=True)
class Finish:
    """Tell everybody that the federation is over."""


Action = OpenRound | ExpectUpload | SendCommand | Aggregate | CloseRound | Note | Finish
