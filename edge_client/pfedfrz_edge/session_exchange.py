"""What goes into a device's session and what comes out: events and actions."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import (
    Command,
    Control,
    DeviceEvent,
    LocalReport,
    Parameters,
    RoundAnnouncement,
    TransferReference,
)

from .outbox import PendingUpdate

__all__ = [
    "Action",
    "Announce",
    "AnnouncementSeen",
    "CancelUpload",
    "CancelWork",
    "ChunkSeen",
    "CommandSeen",
    "Complain",
    "ConditionsMet",
    "ConditionsUnmet",
    "ControlSeen",
    "EvaluationDone",
    "Event",
    "FetchModel",
    "ForgetPending",
    "KeepChunk",
    "KeepPending",
    "LinkRestored",
    "PauseWork",
    "Quit",
    "RememberSettled",
    "ResumeWork",
    "StartWork",
    "StopFetching",
    "UpdateAccepted",
    "UpdateNotKept",
    "UpdateTrained",
    "Upload",
    "WorkBroken",
    "WorkKey",
]


@dataclass(frozen=True)
class WorkKey:
    """Identifies one piece of work, so that the end of a superseded one is not taken for it."""

    round: int
    digest: str


# Events


@dataclass(frozen=True)
class LinkRestored:
    """The link came up, perhaps after an outage in which messages were lost."""


@dataclass(frozen=True)
class AnnouncementSeen:
    """A round announcement, perhaps one that was seen before."""

    announcement: RoundAnnouncement
    signer: str
    """The public key that signed it."""
    retained: bool = False
    """Whether the broker had held it, and since when nobody knows."""


@dataclass(frozen=True)
class ChunkSeen:
    """A chunk of a model version."""

    version: int
    number: int
    data: bytes


@dataclass(frozen=True)
class CommandSeen:
    """A command to this device."""

    command: Command


@dataclass(frozen=True)
class ControlSeen:
    """The federation's desired state."""

    control: Control
    retained: bool = False
    """The broker held it: it may be from any time."""


@dataclass(frozen=True)
class UpdateTrained:
    """The work of a training round is done and encoded."""

    key: WorkKey
    update: PendingUpdate


@dataclass(frozen=True)
class EvaluationDone:
    """The work of an evaluation round is done."""

    key: WorkKey
    report: LocalReport


@dataclass(frozen=True)
class WorkBroken:
    """The work could not be done."""

    key: WorkKey
    detail: str


@dataclass(frozen=True)
class UpdateNotKept:
    """The disk did not take the update that `KeepPending` was for."""

    detail: str


@dataclass(frozen=True)
class ConditionsMet:
    """The device may train."""


@dataclass(frozen=True)
class ConditionsUnmet:
    """The device may not train, until `ConditionsMet`."""


Event = (
    LinkRestored
    | AnnouncementSeen
    | ChunkSeen
    | CommandSeen
    | ControlSeen
    | UpdateTrained
    | EvaluationDone
    | WorkBroken
    | UpdateNotKept
    | ConditionsMet
    | ConditionsUnmet
)


# Actions


@dataclass(frozen=True)
class FetchModel:
    """Subscribe to these chunks of a model version."""

    version: int
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class StopFetching:
    """Unsubscribe from these chunks."""

    version: int
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class KeepChunk:
    """Put a chunk on the disk, so that a restart need not fetch it again."""

    transfer: TransferReference
    number: int
    data: bytes


@dataclass(frozen=True)
class StartWork:
    """Evaluate and train with these shared weights; answer with one of the three work events."""

    key: WorkKey
    announcement: RoundAnnouncement
    received: Parameters
    downloaded_bytes: int


@dataclass(frozen=True)
class CancelWork:
    """Call the running work off."""


@dataclass(frozen=True)
class PauseWork:
    """Hold the running work up before its next batch; it may still end."""


@dataclass(frozen=True)
class ResumeWork:
    """Let it go on."""


@dataclass(frozen=True)
class Announce:
    """Publish an event of this device."""

    event: DeviceEvent


@dataclass(frozen=True)
class Upload:
    """Send these chunks of the payload."""

    round: int
    payload: bytes
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class CancelUpload:
    """Stop sending chunks."""


@dataclass(frozen=True)
class KeepPending:
    """Put the update on disk, before it is announced."""

    update: PendingUpdate


@dataclass(frozen=True)
class ForgetPending:
    """The update is settled; take it off the disk."""


@dataclass(frozen=True)
class RememberSettled:
    """Keep on the disk that this round needs nothing more from this device."""

    round: int
    epoch: int


@dataclass(frozen=True)
class UpdateAccepted:
    """The coordinator has accepted the update of that round."""

    round: int


@dataclass(frozen=True)
class Complain:
    """Tell the person who reads the log."""

    text: str


@dataclass(frozen=True)
class Quit:
    """The federation is over."""


Action = (
    FetchModel
    | StopFetching
    | KeepChunk
    | StartWork
    | CancelWork
    | PauseWork
    | ResumeWork
    | Announce
    | Upload
    | CancelUpload
    | KeepPending
    | ForgetPending
    | RememberSettled
    | UpdateAccepted
    | Complain
    | Quit
)
