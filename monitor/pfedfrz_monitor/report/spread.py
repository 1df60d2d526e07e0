"""Accuracy over devices: mean and spread, benign devices only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .records import Moment, RunRecord

__all__ = ["FinalAccuracy", "Spread", "final_accuracy", "round_spreads", "spread_of"]


@dataclass(frozen=True)
class Spread:
    """A set of accuracies in numbers."""

    mean: float
    std: float
    """Population standard deviation over the devices."""
    min: float
    max: float
    devices: int


@dataclass(frozen=True)
class FinalAccuracy:
    """What the run ended with, and when it was measured."""

    spread: Spread | None
    when: str
    """`closing evaluation`, or the round when there was none."""
    per_device: tuple[float | None, ...]
    """One entry for every device, attackers included."""


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Mean and spread of the values that are there and finite; None when there is none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    variance = math.fsum((value - mean) ** 2 for value in known) / len(known)
    return Spread(mean, math.sqrt(variance), min(known), max(known), len(known))


def round_spreads(record: RunRecord, moment: Moment) -> tuple[Spread | None, ...]:
    """The spread over benign devices in every round."""
    return tuple(
        spread_of(device.accuracy(moment)[row] for device in record.benign)
        for row in range(len(record.rounds))
    )


def final_accuracy(record: RunRecord, moment: Moment) -> FinalAccuracy:
    """The closing evaluation's accuracy or, where nobody measured one, the last round's."""
    if record.closing is not None:
        per_device = record.closing.accuracy(moment)
        benign = [
            value
            for value, device in zip(per_device, record.devices, strict=True)
            if not device.attacker
        ]
        spread = spread_of(benign)
        if spread is not None:
            return FinalAccuracy(spread, "closing evaluation", per_device)
    spreads = round_spreads(record, moment)
    for row in reversed(range(len(spreads))):
        if spreads[row] is not None:
            per_device = tuple(device.accuracy(moment)[row] for device in record.devices)
            return FinalAccuracy(spreads[row], f"round {record.rounds[row].round}", per_device)
    return FinalAccuracy(None, "never measured", (None,) * len(record.devices))
