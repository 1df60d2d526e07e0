"""What a coordinator and its workers say to each other.

Workers act with the coordinator's authority, so both sides sign with the coordinator's key, each
message for its topic. An order goes to one of the workers, whichever the broker picks; everything
after that is between the coordinator and a worker that has a name.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .errors import RejectReason
from .identity import PublicKey
from .messages import (
    Count,
    Digest,
    ExplainedMessage,
    ModelReference,
    Name,
    Number,
    StrictMessage,
    TaggedMessage,
    Text,
    TransferReference,
)

__all__ = [
    "MAX_SHARE",
    "CollectOrder",
    "SumImpossible",
    "SumReady",
    "UpdateHeld",
    "UpdateUnfit",
    "UploadGoesOn",
    "UploadOrder",
    "WorkerEvent",
]

MAX_SHARE = 5000
"""The updates of one partial sum: the order that names them stays well below a broker's bound."""

HeldUpdate = tuple[Name, Digest]
"""A device and the sha256 of the transfer that was accepted from it."""


class UploadOrder(StrictMessage, frozen=True):
    """`work/order`: let this device upload, and judge what comes."""

    round: Number
    epoch: Number
    bundle: Digest
    device: Name
    key: PublicKey
    """The device's: who must have signed the update."""
    transfer: TransferReference
    model: ModelReference
    """What the update must have been trained from."""


class CollectOrder(StrictMessage, frozen=True):
    """`worker/{name}/command`: add up exactly these updates and send the sum."""

    round: Number
    epoch: Number
    share: Number
    """Which of the round's partial sums this is."""
    updates: Annotated[tuple[HeldUpdate, ...], Meta(min_length=1, max_length=MAX_SHARE)]


class UploadGoesOn(TaggedMessage, frozen=True, tag="goes-on"):
    """Chunks of a granted upload are coming; said now and then, so that its grant stays."""

    round: Number
    epoch: Number
    device: Name
    transfer: TransferReference


class UpdateHeld(TaggedMessage, frozen=True, tag="held"):
    """An update is valid and on the worker's disk."""

    round: Number
    epoch: Number
    device: Name
    transfer: TransferReference
    samples: Annotated[int, Meta(ge=1, lt=1 << 30)]
    norm: Annotated[float, Meta(ge=0, le=1e300)]


class UpdateUnfit(ExplainedMessage, frozen=True, tag="unfit"):
    """An update did not pass, and why."""

    round: Number
    epoch: Number
    device: Name
    transfer: TransferReference
    reason: RejectReason
    detail: Text
    is_signed: bool = False
    """Whether the device signed what was judged: what did not get so far may be anybody's."""


class SumReady(TaggedMessage, frozen=True, tag="sum"):
    """The partial sum that was asked for; its chunks follow."""

    round: Number
    epoch: Number
    share: Number
    samples: Count
    transfer: TransferReference


class SumImpossible(TaggedMessage, frozen=True, tag="no-sum"):
    """Some of the updates that were named are not on the worker's disk."""

    round: Number
    epoch: Number
    share: Number
    missing: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_SHARE)]


WorkerEvent = UploadGoesOn | UpdateHeld | UpdateUnfit | SumReady | SumImpossible
"""`worker/{name}/event`."""
