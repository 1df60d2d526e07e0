"""The frame of a drawing: its size, its axes, and where a round and an accuracy lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .spread import Spread

__all__ = ["ChartSize", "Frame", "accuracy_axis", "accuracy_ticks", "round_ticks"]

_LEAST_TENTHS = 3
_SINGLE_TENTHS = 5
"""Range of the axis in tenths: at least, and up to which every tenth has its line."""


@dataclass(frozen=True)
class ChartSize:
    """Size of a drawing in CSS pixels, and the room around its plotting area."""

    width: float
    height: float
    left: float = 50.0
    right: float = 104.0
    top: float = 12.0
    bottom: float = 40.0


@dataclass(frozen=True)
class Frame:
    """Maps rounds and accuracies to positions."""

    size: ChartSize
    first: int
    last: int
    low: float
    high: float

    def x(self, number: float) -> float:
        inner = self.size.width - self.size.left - self.size.right
        if self.last == self.first:
            return self.size.left + inner / 2
        return self.size.left + inner * (number - self.first) / (self.last - self.first)

    def y(self, share: float) -> float:
        inner = self.size.height - self.size.top - self.size.bottom
        clipped = min(max(share, self.low), self.high)
        return self.size.top + inner * (self.high - clipped) / (self.high - self.low)


def accuracy_axis(spreads: Iterable[Spread | None]) -> tuple[float, float]:
    """The range of the accuracy axis, in whole tenths, at least three of them.

    An axis that does not start at 0 shows small differences; its labels say where it starts.
    """
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return 0.0, 1.0
    lowest = min(max(0.0, min(s.min, s.mean - s.std)) for s in known)
    highest = max(min(1.0, max(s.max, s.mean + s.std)) for s in known)
    top = max(_LEAST_TENTHS, math.ceil(round(highest * 10, 6)))
    bottom = max(0, min(math.floor(round(lowest * 10, 6)), top - _LEAST_TENTHS))
    if top - bottom > _SINGLE_TENTHS:
        # Every second tenth has a line then, and the axis has to end on one.
        bottom -= (top - bottom) % 2
        if bottom < 0:
            bottom, top = 0, top + 1
    return bottom / 10, top / 10


def accuracy_ticks(low: float, high: float) -> list[float]:
    """The accuracies that have a line: every tenth, or every second one of a long axis."""
    first, last = round(low * 10), round(high * 10)
    step = 1 if last - first <= _SINGLE_TENTHS else 2
    return [tenth / 10 for tenth in range(last, first - 1, -step)][::-1]


def round_ticks(first: int, last: int, most: int) -> list[int]:
    """Whole rounds to label: the first, the last, and round numbers between, at most `most`."""
    span = max(1, last - first)
    step = 1
    for step in (s * 10**power for power in range(9) for s in (1, 2, 5)):
        if span / step <= most - 2:
            break
    between = range((first // step + 1) * step, last, step)
    # A label too near to either end would touch it.
    inner = [n for n in between if n - first > step / 2 and last - n > step / 2]
    return sorted({first, last, *inner})
