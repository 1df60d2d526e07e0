"""What the updates' steps say of devices: how long they are, and whether they pull with the others.

A device stands out when its mean, over the rounds, is far from the others' median: more than 3.5
times the median absolute deviation, scaled as for normal numbers (Iglewicz and Hoaglin 1993).
Lengths are compared by their logarithms. So does one that a watcher would have named as it went,
for pulling against the others again and again. That is a hint to look there, and no verdict.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pfedfrz_monitor.pull import ever_pulled_against

from .records import DeviceRecord, Part, RunRecord

__all__ = ["StepKind", "StepSeries", "step_series"]

_FAR = 3.5
_NORMAL = 0.6745
_FEWEST = 4
"""Devices below which nobody can stand out."""


class StepKind(str, enum.Enum):
    """What is measured of a step S_i - S."""

    NORM = "norm"
    COSINE = "cosine"

    def of(self, part: Part | None) -> float | None:
        """The number of one part; None where there is none."""
        value = None if part is None else part.norm if self is StepKind.NORM else part.cosine
        return value if value is not None and math.isfinite(value) else None

    @property
    def least_deviation(self) -> float:
        """So that devices that all but agree do not make each other stand out."""
        return 0.1 if self is StepKind.NORM else 0.05


@dataclass(frozen=True)
class StepSeries:
    """One device's numbers, one for each round of the record."""

    device: DeviceRecord
    values: tuple[float | None, ...]
    stands_out: bool = False


def step_series(record: RunRecord, kind: StepKind) -> list[StepSeries]:
    """The devices that have any such number."""
    found = [
        StepSeries(device, tuple(map(kind.of, device.parts)))
        for device in record.devices
        if any(kind.of(part) is not None for part in device.parts)
    ]
    far = _far(kind, [_level(kind, series.values) for series in found])
    return [
        StepSeries(series.device, series.values, out or _is_against(kind, series.values))
        for series, out in zip(found, far, strict=True)
    ]


def _is_against(kind: StepKind, values: Sequence[float | None]) -> bool:
    known = [value for value in values if value is not None]
    return kind is StepKind.COSINE and ever_pulled_against(known)


def _level(kind: StepKind, values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    if kind is StepKind.NORM:
        known = [math.log(max(value, 1e-12)) for value in known]
    return statistics.fmean(known)


def _far(kind: StepKind, levels: Sequence[float]) -> list[bool]:
    if len(levels) < _FEWEST:
        return [False] * len(levels)
    middle = statistics.median(levels)
    spread = statistics.median(abs(level - middle) for level in levels)
    unit = max(spread, kind.least_deviation) / _NORMAL
    return [abs(level - middle) > _FAR * unit for level in levels]
