"""Errors, divided by who can mend them.

`ConfigurationError` is for a person: what they asked for cannot be done, and the message says what,
where and what to do instead (the command exits with 2). `ProtocolError` is for a peer: bytes from
the network broke the contract; it carries a `RejectReason` and never ends a process.
`OperationError` is for the world: a broker that does not answer, a full disk (exit code 1).
"""

from __future__ import annotations

import enum

from .one_line import one_line

__all__ = [
    "BundleError",
    "ConfigurationError",
    "OperationError",
    "PfedfrzError",
    "ProtocolError",
    "RejectReason",
]

_MAX_DETAIL = 500


class RejectReason(str, enum.Enum):
    """Why a message or an update was not accepted; travels to the device and into the journal."""

    MALFORMED = "malformed"
    """Bytes that do not decode: framing, JSON, schema, safetensors, compression."""
    TOO_LARGE = "too-large"
    """A declared or reassembled size over its bound."""
    WRONG_DIGEST = "wrong-digest"
    """The content is not what its sha256 says."""
    WRONG_TENSORS = "wrong-tensors"
    """Names, shapes or dtypes are not those of the manifest's shared group."""
    WRONG_BASE = "wrong-base"
    """The update was trained from another model than the round's."""
    NOT_FINITE = "not-finite"
    """A NaN or an infinity among the weights."""
    NORM_EXCEEDED = "norm-exceeded"
    """The update moved further from the model than the coordinator allows."""
    SAMPLES_EXCEEDED = "samples-exceeded"
    """A sample count below one or over the cap."""
    NOT_SELECTED = "not-selected"
    """The device is not a member of the round."""
    LATE = "late"
    """The round is closed or was opened again under another epoch."""
    DUPLICATE = "duplicate"
    """Another update of this device was already accepted in this round."""
    NOT_SIGNED = "not-signed"
    """No signature where one is due."""
    WRONG_SIGNATURE = "wrong-signature"
    """Not signed with the key that the sender is known by."""
    NOT_ENROLLED = "not-enrolled"
    """The coordinator does not know the device, and no permit-join window is open."""
    REVOKED = "revoked"
    """The key was revoked; it is good for nothing any more."""
    QUARANTINED = "quarantined"
    """The device's updates were refused too often; a person can let it back."""
    QUOTA_EXCEEDED = "quota-exceeded"
    """More messages or bytes than a device may send."""


class PfedfrzError(Exception):
    """The base of every error that pfedfrz raises on purpose."""


class ConfigurationError(PfedfrzError):
    """Something a person asked for cannot be done; the message says what to do instead."""


class BundleError(ConfigurationError):
    """A bundle that is damaged, foreign, or not for this use."""


class OperationError(PfedfrzError):
    """The world did not cooperate: a broker that does not answer, a disk that is full."""


class ProtocolError(PfedfrzError):
    """A peer broke the contract. `reason` is what the device and the journal are told.

    `detail` may quote the peer, so it is brought into one printable line here, once for all.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason = reason
        self.detail = one_line(detail, _MAX_DETAIL)
        super().__init__(f"{reason.value}: {self.detail}")
