"""What is said for those who watch: the rounds so far, the members, and operators' requests.

Nothing here is needed for a round. The coordinator keeps two retained topics for whoever comes
late, `history` and `members`; an operator, who may do more than watch, asks on a topic of its own
and is answered there.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .identity import PublicKey
from .messages import (
    MAX_TEXT,
    Count,
    Name,
    Number,
    Purpose,
    RoundMetrics,
    Seconds,
    Share,
    StrictMessage,
    TaggedMessage,
    Text,
    bring_into_one_line,
)
from .one_line import one_line

__all__ = [
    "MAX_LISTED",
    "MAX_ROUNDS_TOLD",
    "AcceptDevice",
    "Membership",
    "OperatorAction",
    "OperatorAnswer",
    "OperatorRequest",
    "Pause",
    "PermitJoin",
    "QuarantineDevice",
    "ReadmitDevice",
    "Resume",
    "RevokeDevice",
    "RoundBrief",
    "RoundHistory",
    "brief_round",
]

MAX_ROUNDS_TOLD = 200
MAX_LISTED = 1000
_LATEST_S = 1e11


class RoundBrief(StrictMessage, frozen=True, omit_defaults=True):
    """One closed round in a line. Means are over the devices that reported."""

    round: Number
    purpose: Purpose
    closed_at: Annotated[float, Meta(ge=0, le=_LATEST_S)]
    """Unix seconds by the coordinator's clock."""
    duration_s: Seconds
    selected: Count
    accepted: Count
    rejected: Count
    missing: Count
    received_mean: Share | None = None
    local_mean: Share | None = None
    loss_mean: float | None = None
    uplink_bytes: Count = 0
    downlink_bytes: Count = 0
    train_s: Seconds = 0.0
    """Seconds of training, summed over the devices that reported."""


class RoundHistory(StrictMessage, frozen=True):
    """`history`, retained: the last closed rounds, oldest first, for whoever comes late."""

    rounds: Annotated[tuple[RoundBrief, ...], Meta(max_length=MAX_ROUNDS_TOLD)]


class Membership(StrictMessage, frozen=True):
    """`members`, retained: who is let in and who is not. Lists end after `MAX_LISTED` names."""

    enrolled: Count
    """How many devices are let in."""
    waiting: Annotated[tuple[Name, ...], Meta(max_length=MAX_LISTED)]
    """Have asked, and wait for a person to accept them."""
    quarantined: Annotated[dict[Name, Text], Meta(max_length=MAX_LISTED)]
    """Kept out until they are readmitted, and why."""
    revoked: Annotated[tuple[Name, ...], Meta(max_length=MAX_LISTED)]
    joining: bool
    """Whether whoever asks is let in just now."""

    def __post_init__(self) -> None:
        lines = {name: one_line(why, MAX_TEXT) for name, why in self.quarantined.items()}
        msgspec.structs.force_setattr(self, "quarantined", lines)


class Pause(TaggedMessage, frozen=True, tag="pause"):
    """Open no further round; the open one goes on to its end. Lasts over restarts."""


class Resume(TaggedMessage, frozen=True, tag="resume"):
    """Open rounds again."""


class AcceptDevice(TaggedMessage, frozen=True, tag="accept"):
    """Let a device in: with that key, or the one that it asked with."""

    device: Name
    key: PublicKey | None = None


class QuarantineDevice(TaggedMessage, frozen=True, tag="quarantine"):
    """Keep a device out until it is readmitted."""

    device: Name
    reason: Text = ""

    def __post_init__(self) -> None:
        bring_into_one_line(self, "reason")


class ReadmitDevice(TaggedMessage, frozen=True, tag="readmit"):
    """Let a quarantined device back."""

    device: Name


class RevokeDevice(TaggedMessage, frozen=True, tag="revoke"):
    """Make a device's key good for nothing, for ever."""

    device: Name


class PermitJoin(TaggedMessage, frozen=True, tag="permit-join"):
    """Let in whoever asks, for so long; 0 ends it."""

    seconds: Seconds


OperatorAction = (
    Pause | Resume | AcceptDevice | QuarantineDevice | ReadmitDevice | RevokeDevice | PermitJoin
)


class OperatorRequest(StrictMessage, frozen=True):
    """`operator/{name}/request`, signed with the key that the coordinator has for that name.

    An old request is worth nothing: `epoch` is the one in the coordinator's present status, which
    grows with every start, and serials grow within it.
    """

    epoch: Number
    serial: Number
    action: OperatorAction


class OperatorAnswer(StrictMessage, frozen=True):
    """`operator/{name}/answer`: what became of a request."""

    epoch: Number
    """As asked"""
    serial: Number
    """As asked"""
    done: bool
    detail: Text
    """In one line for people: what was done, or why it was not."""

    def __post_init__(self) -> None:
        bring_into_one_line(self, "detail")


def brief_round(metrics: RoundMetrics, closed_at: float) -> RoundBrief:
    """The same round in a line; `closed_at` are Unix seconds."""
    return RoundBrief(
        metrics.round,
        metrics.purpose,
        # A clock may have been set to anything; the message has bounds.
        min(_LATEST_S, max(0.0, closed_at)),
        metrics.duration_s,
        metrics.selected,
        metrics.accepted,
        sum(metrics.rejected.values()),
        metrics.missing,
        metrics.received_mean,
        metrics.local_mean,
        metrics.loss_mean,
        metrics.uplink_bytes,
        metrics.downlink_bytes,
        metrics.train_s,
    )
