"""What an update must be before it may touch the model.

The codec has checked framing, bounds, digest, names, shapes and dtypes when a payload decodes. Here
come the checks that need the round: who sent it, for which round, from which model, and whether the
numbers are numbers. One update that is not finite would make almost every aggregation rule's result
not finite, so this comes before any rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    ConfigurationError,
    ProtocolError,
    RejectReason,
    SharedCodec,
    TensorHeader,
    UpdateLabel,
    add_halves,
    halves_square,
)

from .staleness import Staleness

__all__ = ["Expected", "ValidUpdate", "ValidationPolicy", "validate_update"]


_BLOCK = 32_768
_ROOM_FOR_HALVES = 1e38
"""No float16 takes a weight that is smaller than this beyond float32's range."""


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
    base: NDArray[np.float32]
    """The model that it was trained from, `(parameters,)`."""
    exact: bool = False
    """Whether it must be a difference in float16, as an exact mean needs it."""
    staleness: Staleness | None = None
    """For an update that counts for a later round than it was made in."""

    @property
    def into(self) -> int:
        """The round that it counts for."""
        return self.round + (self.staleness.rounds if self.staleness else 0)


@dataclass(frozen=True)
class ValidUpdate:
    """An update that passed: finite, within the bounds."""

    numbers: NDArray[np.floating]
    """`(parameters,)`: float32, or differences to the round's model as float16."""
    samples: int
    norm: float
    """L2 norm of S_i - S, of the model that it was trained from."""


def validate_update(
    payload: bytes | memoryview,
    codec: SharedCodec,
    expected: Expected,
    policy: ValidationPolicy,
) -> ValidUpdate:
    """The update in `payload`; ProtocolError with the reason when any check fails."""
    label = _label(codec.header(payload), expected, policy)
    _, numbers = codec.decode_flat(payload)
    if expected.exact and numbers.size and numbers.dtype != np.float16:
        raise ProtocolError(
            RejectReason.WRONG_TENSORS,
            "whole weights in float32, and an exact mean adds differences: the device must send "
            "delta-float16 or delta-int8",
        )
    norm = _norm_of_step(numbers, expected.base)
    if policy.max_update_norm is not None and norm > policy.max_update_norm:
        raise ProtocolError(
            RejectReason.NORM_EXCEEDED, f"step of norm {norm:.3g} over {policy.max_update_norm:g}"
        )
    if expected.staleness is not None:
        numbers = expected.staleness.rebase(numbers, expected.base)
    return ValidUpdate(numbers, label.samples, norm)


def _norm_of_step(numbers: NDArray[np.floating], base: NDArray[np.float32]) -> float:
    """|S_i - S|; ProtocolError when a weight of S_i is not finite.

    In blocks that stay in the processor's cache: whole float64 vectors would take three times as
    long, most of it for the memory.
    """
    if numbers.dtype == np.float16:
        square = halves_square(numbers.view(np.uint16))
        if math.isfinite(square) and _largest(base) > _ROOM_FOR_HALVES:
            square += 0.0 if _sums_are_finite(numbers, base) else math.inf
    else:
        square = 0.0
        space = np.empty(_BLOCK, np.float64)
        for start in range(0, len(numbers), _BLOCK):
            block = numbers[start : start + _BLOCK]
            step = space[: len(block)]
            np.subtract(block, base[start : start + len(block)], out=step, dtype=np.float64)
            square += float(np.dot(step, step))
    # The base is finite and squares of float32 are far inside of float64's range: the sum is finite
    # if and only if every weight is.
    if not math.isfinite(square):
        raise ProtocolError(RejectReason.NOT_FINITE, "NaN or infinity among the weights")
    return math.sqrt(square)


def _largest(weights: NDArray[np.float32]) -> float:
    """The largest magnitude, found without a copy."""
    return max(float(weights.max(initial=0)), -float(weights.min(initial=0)))


def _sums_are_finite(halves: NDArray[np.floating], base: NDArray[np.float32]) -> bool:
    sums = np.empty_like(base)
    add_halves(base, halves.view(np.uint16), sums)
    return bool(np.isfinite(sums).all())


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
