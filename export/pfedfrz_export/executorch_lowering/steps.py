"""Decisions by arithmetic: where a number is positive, without a comparison.

XNNPACK compares nothing, and the portable kernels that do take ten times as long as its arithmetic.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["positive", "threshold_backward"]

_HUGE = 2.0**127


def positive(value: Tensor) -> Tensor:
    """Exactly 1.0 where `value` is above zero and exactly 0.0 elsewhere, float32.

    The smallest positive number is 2^-149, so one multiplication by 2^127 would not do.
    """
    return (value * _HUGE * _HUGE).clamp(0.0, 1.0)


def threshold_backward(grad: Tensor, out: Tensor, threshold: float) -> Tensor:
    """The gradient where `out` is above the threshold, else zero: the backward of ReLU."""
    return grad * positive(out if threshold == 0 else out - threshold)
