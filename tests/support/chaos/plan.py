"""Who is killed, after how long, and where: drawn from a seed, without end."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .points import COORDINATOR_POINTS, DEVICE_POINTS

__all__ = ["BROKER", "COORDINATOR", "Step", "plan_steps"]

COORDINATOR = "coordinator"
BROKER = "broker"


@dataclass(frozen=True)
class Step:
    """One kill, and what the victim is told for its next life."""

    gap_s: float
    """Since the kill before."""
    victim: str
    down_s: float
    point: str = ""
    """Where the next life is to end; empty: nowhere in particular."""
    nth: int = 1
    persists: bool = False
    """Whether the broker keeps a database on disk in its next life."""


def plan_steps(devices: Sequence[str], seed: int) -> Iterator[Step]:
    """The steps of a run, the same for the same seed; half of the lives end at a chosen instant.

    Chosen instants come in turn, so that a run of some length has had them all.
    """
    source = random.Random(f"chaos/{seed}")
    device_points = _in_turn(list(DEVICE_POINTS), source)
    coordinator_points = _in_turn(list(COORDINATOR_POINTS), source)
    while True:
        kind = source.choices(("device", COORDINATOR, BROKER), (5, 4, 1))[0]
        gap_s, down_s = source.uniform(0.1, 0.9), source.uniform(0.0, 0.6)
        on_purpose, nth = source.random() < 0.7, source.randint(1, 3)
        persists, device = source.random() < 0.5, source.choice(list(devices))
        if kind == BROKER:
            yield Step(gap_s, BROKER, down_s, persists=persists)
        elif kind == COORDINATOR:
            point = next(coordinator_points) if on_purpose else ""
            yield Step(gap_s, COORDINATOR, down_s, point, nth)
        else:
            point = next(device_points) if on_purpose else ""
            yield Step(gap_s, device, down_s, point, nth)


def _in_turn(points: list[str], source: random.Random) -> Iterator[str]:
    while True:
        source.shuffle(points)
        yield from points
