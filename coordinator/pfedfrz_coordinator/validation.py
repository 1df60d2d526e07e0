"""What an update must be before it may touch the model.

The codec has checked framing, bounds, digest, names, shapes and dtypes when a payload decodes. Here
come the checks that need the round: who sent it, for which round, from which model, and whether the
numbers are numbers. One update that is not finite would make almost every aggregation rule's result
not finite, so this comes before any rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    ConfigurationError,
    Parameters,
    ProtocolError,
    RejectReason,
    SharedCodec,
    TensorHeader,
    UpdateLabel,
)

from .flat import flatten

__all__ = ["Expected", "ValidUpdate", "ValidationPolicy", "validate_update"]


class ValidationPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds on an update."""

    max_samples: int = 1_000_000
    """A device's word for its sample count is its weight in the mean: more is refused."""
    max_update_norm: float | None = None
    """Upper bound on the L2 norm of S_i - S; None sets no bound."""

    def __post_init__(self) -> None:
        if self.max_samples < 1:
            raise ConfigurationError(f"[validation] max_samples = {self.max_samples} (want >= 1)")
        if self.max_update_norm is not None and not self.max_update_norm > 0:
            raise ConfigurationError(
                f"[validation] max_update_norm = {self.max_update_norm} (want above 0)"
            )


@dataclass(frozen=True)
class Expected:
    """The round that an update must be for."""

    device: str
    round: int
    base_digest: str
    base: Parameters


@dataclass(frozen=True)
class ValidUpdate:
    """An update that passed: `(parameters,)` float32, finite, within the bounds."""

    vector: NDArray[np.float32]
    samples: int
    norm: float
    """L2 norm of S_i - S."""


def validate_update(
    payload: bytes, codec: SharedCodec, expected: Expected, policy: ValidationPolicy
) -> ValidUpdate:
    """The update in `payload`; ProtocolError with the reason when any check fails."""
    label = _label(codec.header(payload), expected, policy)
    _, tensors = codec.decode(payload, expected.base)
    vector = flatten(tensors, codec.layout)
    if not np.isfinite(vector).all():
        raise ProtocolError(RejectReason.NOT_FINITE, "NaN or infinity among the weights")
    step = vector.astype(np.float64) - flatten(expected.base, codec.layout)
    norm = float(np.sqrt(np.dot(step, step)))
    if policy.max_update_norm is not None and norm > policy.max_update_norm:
        raise ProtocolError(
            RejectReason.NORM_EXCEEDED, f"step of norm {norm:.3g} over {policy.max_update_norm:g}"
        )
    return ValidUpdate(vector, label.samples, norm)


def _label(header: TensorHeader, expected: Expected, policy: ValidationPolicy) -> UpdateLabel:
    label = header.label
    if not isinstance(label, UpdateLabel):
        raise ProtocolError(RejectReason.MALFORMED, "a model where an update was due")
    if label.device != expected.device:
        raise ProtocolError(RejectReason.MALFORMED, f"labelled as {label.device}'s")
    if label.round != expected.round:
        raise ProtocolError(RejectReason.LATE, f"an update for round {label.round}")
    if label.base != expected.base_digest:
        raise ProtocolError(RejectReason.WRONG_BASE, f"trained from {label.base[:12]}...")
    if not 1 <= label.samples <= policy.max_samples:
        raise ProtocolError(
            RejectReason.SAMPLES_EXCEEDED, f"{label.samples} samples (1 to {policy.max_samples})"
        )
    return label
