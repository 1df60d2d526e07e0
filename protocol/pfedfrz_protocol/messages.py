"""The JSON messages, one struct for each, strict in both directions.

Unknown fields are refused, numbers are bounded, and `decode` turns everything that does not fit
into a `ProtocolError`. The names of the structs are the terms of the protocol.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from .errors import ProtocolError, RejectReason
from .identity import MAX_SUCCESSIONS, PublicKey, Succession
from .one_line import one_line
from .schedule import TrainableSet
from .strict_json import decode_json

__all__ = [
    "MAX_CLASSES_TOLD",
    "Accepted",
    "BundleInstalled",
    "BundleOffer",
    "BundleRefused",
    "Command",
    "Control",
    "CoordinatorStatus",
    "DesiredState",
    "DeviceEvent",
    "DeviceStatus",
    "Evaluated",
    "Grant",
    "Heartbeat",
    "LocalReport",
    "ModelReference",
    "NotAdmitted",
    "PhaseProgress",
    "Presence",
    "Purpose",
    "Rejected",
    "RoundAnnouncement",
    "RoundFailed",
    "RoundMetrics",
    "TransferReference",
    "UpdateReady",
    "decode_message",
    "encode_message",
]

MAX_MESSAGE_BYTES = 4 << 20
MAX_TEXT = 500
MAX_SPANS = 1000

Count = Annotated[int, Meta(ge=0, le=1 << 48)]
Number = Annotated[int, Meta(ge=0, le=999_999_999)]
# \Z and not $, which a newline may follow.
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
ChunkSpan = tuple[Number, Number]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
"""For people. Structs that have one bring it into the form of `one_line`, whoever wrote it."""
Share = Annotated[float, Meta(ge=0, le=1)]
Cosine = Annotated[float, Meta(ge=-1, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Successions = Annotated[tuple[Succession, ...], Meta(max_length=MAX_SUCCESSIONS)]
"""The rotations that led to a key, oldest first."""
MAX_CLASSES_TOLD = 1000
LabelCounts = Annotated[tuple[Count, ...], Meta(max_length=MAX_CLASSES_TOLD)]


class StrictMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every message."""


class TaggedMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag=True
):
    """The base of messages that share a topic, or a place in another: `type` says which it is."""


class ExplainedMessage(TaggedMessage, frozen=True):
    """Has a `detail` for people, in one line, whoever wrote it.

    Each message declares the member itself: a base's would come before all of its own.
    """

    def __post_init__(self) -> None:
        bring_into_one_line(self, "detail")


def bring_into_one_line(message: msgspec.Struct, member: str) -> None:
    """Give a text for people, in a message that is being made, the form of `one_line`."""
    text = one_line(getattr(message, member), MAX_TEXT)
    msgspec.structs.force_setattr(message, member, text)


class Presence(str, enum.Enum):
    """Whether the sender of a status is there; `offline` is what its last will says."""

    ONLINE = "online"
    OFFLINE = "offline"
    WAITING = "waiting"
    """There, and not to be asked to train until it says `online`; only a device waits."""


class Purpose(str, enum.Enum):
    """What a round asks for: training and an update, or an evaluation of the model alone."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class DesiredState(str, enum.Enum):
    """What the federation should be doing."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


class CoordinatorStatus(StrictMessage, frozen=True):
    """`coordinator/status`, retained; signed, like everything that a coordinator says.

    A device that trusts no key yet trusts the first that it hears here.
    """

    presence: Presence
    bundle: Digest
    epoch: Number
    key: PublicKey
    successions: Successions = ()

    def __post_init__(self) -> None:
        if self.presence is Presence.WAITING:
            raise ValueError("a coordinator is online or offline")


class Control(StrictMessage, frozen=True):
    """`control`, retained."""

    desired: DesiredState
    epoch: Number


class TransferReference(StrictMessage, frozen=True):
    """What a chunked payload will be: length and digest of all its bytes together."""

    payload_bytes: Count
    sha256: Digest


class ModelReference(StrictMessage, frozen=True):
    """A model version: its identity (digest of the tensors) and how its bytes travel."""

    version: Number
    digest: Digest
    transfer: TransferReference


class RoundAnnouncement(StrictMessage, frozen=True):
    """`round`, retained: who does what with which model, and for how long it is worth doing.

    Announcements are ordered by (epoch, round). The epoch grows with every start of the coordinator
    and every time a round is opened again, also when the coordinator's state was wiped.
    """

    round: Number
    epoch: Number
    bundle: Digest
    """The bundle that this federation trains; a device with another one must not take part."""
    purpose: Purpose
    model: ModelReference
    selected: tuple[Name, ...]
    deadline_s: Seconds
    stale_rounds: Number = 0
    """For how many rounds an update stays welcome: a device that is busy with a round no older than
    that finishes it before it begins this one."""


class BundleOffer(StrictMessage, frozen=True):
    """`bundle`, retained: the bundle that devices should go over to; its chunks are retained too.

    The signature covers the sha256 of the archive. An offer with a lower serial than one that was
    seen before is an old one, whoever brings it back.
    """

    serial: Number
    """Grows with every bundle that a coordinator adopts, also when its state was lost"""
    bundle: Digest
    """sha256 of the `manifest.json` in it"""
    transfer: TransferReference
    """The archive, whose chunks are on `.../bundle/BUNDLE/CHUNK`"""


class DeviceStatus(StrictMessage, frozen=True, omit_defaults=True):
    """`device/{id}/status`, retained: birth, and last will with presence offline.

    Signed with `key`, which is how a device enrols; everything else that it says is signed with
    the key that it is enrolled with.
    """

    presence: Presence
    boot_id: Name
    bundle: Digest
    runtime: Name
    samples: Count
    key: PublicKey
    successions: Successions = ()
    waiting_for: Text = ""
    """Why a device with presence `waiting` does not train now, in one line for people."""
    label_counts: LabelCounts = ()
    """Training samples of each class, where the device's owner shares them."""

    def __post_init__(self) -> None:
        bring_into_one_line(self, "waiting_for")


class Heartbeat(StrictMessage, frozen=True):
    """`device/{id}/heartbeat`: what the device is doing."""

    boot_id: Name
    state: Name
    round: Number
    uptime_s: Seconds


class LocalReport(StrictMessage, frozen=True):
    """One device's numbers for one round; accuracies are personalised, None where not measured.

    `received` is measured with the new shared weights and the device's own personal ones before
    any training, `local` after it.
    """

    samples: Count
    received: Share | None = None
    local: Share | None = None
    loss: float | None = None
    """Mean training loss over the last epoch of the last phase."""
    downloaded_bytes: Count = 0
    train_s: Seconds = 0.0
    evaluate_s: Seconds = 0.0
    received_loss: float | None = None
    local_loss: float | None = None
    """Mean test losses at the same moments, where labels are numbers and not classes."""


class PhaseProgress(TaggedMessage, frozen=True, tag="progress"):
    """An epoch of a phase has ended."""

    round: Number
    phase: Number
    phases: Number
    trainable: TrainableSet
    epoch: Number
    epochs: Number
    loss: float | None


class UpdateReady(TaggedMessage, frozen=True, tag="ready"):
    """The update is trained, on the device's disk, and waits for a grant."""

    round: Number
    epoch: Number
    boot_id: Name
    base: Digest
    transfer: TransferReference
    report: LocalReport


class Evaluated(TaggedMessage, frozen=True, tag="evaluated"):
    """The answer to an evaluation round."""

    round: Number
    epoch: Number
    boot_id: Name
    report: LocalReport


class RoundFailed(ExplainedMessage, frozen=True, tag="failed"):
    """The device cannot do its part in this round."""

    round: Number
    epoch: Number
    boot_id: Name
    detail: Text


class BundleInstalled(ExplainedMessage, frozen=True, tag="bundle-installed"):
    """The answer to an offer: the device has gone over to that bundle."""

    serial: Number
    """As offered"""
    bundle: Digest
    """As offered"""
    boot_id: Name
    detail: Text
    """What became of the personal weights of before, for people: names and no numbers"""


class BundleRefused(ExplainedMessage, frozen=True, tag="bundle-refused"):
    """The answer to an offer: the device keeps the bundle that its status names, and why."""

    serial: Number
    """As offered"""
    bundle: Digest
    """As offered"""
    boot_id: Name
    detail: Text


DeviceEvent = (
    PhaseProgress | UpdateReady | Evaluated | RoundFailed | BundleInstalled | BundleRefused
)
"""`device/{id}/event`."""


class Grant(TaggedMessage, frozen=True, tag="grant"):
    """The device may upload now."""

    round: Number
    epoch: Number
    chunks: Annotated[tuple[ChunkSpan, ...], Meta(max_length=MAX_SPANS)] = ()
    """What is still missing, as (first, last) numbers of chunks; nothing here means all of them."""


class Accepted(TaggedMessage, frozen=True, tag="accepted"):
    """The update is on the coordinator's disk; the device may forget it. Idempotent."""

    round: Number
    epoch: Number


class Rejected(ExplainedMessage, frozen=True, tag="rejected"):
    """The update will not be used, and why."""

    round: Number
    epoch: Number
    reason: RejectReason
    detail: Text


class NotAdmitted(ExplainedMessage, frozen=True, tag="not-admitted"):
    """The coordinator does not work with this device, and why; it is told once for each status."""

    reason: RejectReason
    detail: Text


Command = Grant | Accepted | Rejected | NotAdmitted
"""`device/{id}/command`."""


class RoundMetrics(StrictMessage, frozen=True):
    """`metrics`, retained: a closed round in numbers. Means are over the devices that reported."""

    round: Number
    purpose: Purpose
    model_version: Number
    selected: Count
    accepted: Count
    rejected: dict[RejectReason, Count]
    missing: Count
    received_mean: Share | None
    local_mean: Share | None
    loss_mean: float | None
    uplink_bytes: Count
    downlink_bytes: Count
    duration_s: Seconds
    update_norms: dict[Name, float]
    """L2 norm of each accepted update's step S_i - S."""
    received_loss_mean: float | None = None
    local_loss_mean: float | None = None
    stale: Count = 0
    """Accepted updates that were trained from an older model than the round's."""
    ignored: dict[RejectReason, Count] = {}
    """Messages since the round before that were not even looked into, by reason."""
    update_cosines: dict[Name, Cosine] = {}
    """Cosine between each accepted update's step S_i - S and the mean of the others' steps. An
    update that pulls against the others is below 0."""
    train_s: Seconds = 0.0
    """Seconds of training, summed over the devices that reported."""
    evaluate_s: Seconds = 0.0
    """Seconds of measuring, likewise."""


Message = TypeVar("Message")


def encode_message(message: msgspec.Struct) -> bytes:
    """The message as JSON."""
    return msgspec.json.encode(message)


def decode_message(payload: bytes, kind: type[Message]) -> Message:
    """The message in `payload`; ProtocolError when it is not one of that kind."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ProtocolError(RejectReason.TOO_LARGE, f"message of {len(payload)} bytes")
    try:
        return decode_json(payload, kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(RejectReason.MALFORMED, str(error)[:300]) from error
