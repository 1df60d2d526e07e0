"""When what goes wrong, and to whom: drawn from the run's seed alone, so it can be had again.

Faults are planned by round and by the seconds since it was opened. How far everybody has got by
then is the machine's business, and no two runs are alike in it; the plan is.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .profile import FaultProfile

__all__ = ["FaultKind", "PlannedFault", "Victims", "choose_victims", "plan_faults"]

COORDINATOR = "coordinator"
BROKER = "broker"
_WITHIN_S = 1.5
"""A fault comes this soon after its round was opened, at most."""
_LEAST_DOWN_S = 0.2
_SPAWN_KEYS = {"plan": 0xFA_0001, "victims": 0xFA_0002}


class FaultKind(str, enum.Enum):
    """What is done to a fleet at one moment; links and slow devices are so all the time."""

    DEVICE_KILL = "device kill"
    COORDINATOR_KILL = "coordinator kill"
    BROKER_KILL = "broker kill"
    PARTITION = "partition"


@dataclass(frozen=True)
class PlannedFault:
    """One fault of a run."""

    round: int
    """In which round it comes."""
    after_s: float
    """How long after the round was opened."""
    kind: FaultKind
    victims: tuple[str, ...]
    lasts_s: float
    """Until the killed is started again, or the partition healed."""
    persists: bool = False
    """Whether the broker comes back with a database on disk."""


@dataclass(frozen=True)
class Victims:
    """Who has what for the whole run."""

    bad_links: tuple[str, ...]
    slow: tuple[str, ...]


def choose_victims(profile: FaultProfile, devices: Sequence[str], seed: int) -> Victims:
    """The devices with a bad link, and those that are slow; a device may be both."""
    random = _random("victims", seed)
    return Victims(
        _draw(random, devices, profile.bad_links), _draw(random, devices, profile.slow_devices)
    )


def plan_faults(
    profile: FaultProfile, devices: Sequence[str], rounds: int, seed: int
) -> tuple[PlannedFault, ...]:
    """Every fault of a run of `rounds` rounds of training, in the order in which they come."""
    return tuple(
        sorted(
            _planned(profile, devices, rounds, _random("plan", seed)),
            key=lambda fault: (fault.round, fault.after_s),
        )
    )


def _planned(
    profile: FaultProfile, devices: Sequence[str], rounds: int, random: np.random.Generator
) -> Iterator[PlannedFault]:
    def fault(
        number: int,
        kind: FaultKind,
        victims: tuple[str, ...],
        lasts_s: float | None = None,
        persists: bool = False,
    ) -> PlannedFault:
        after_s = float(random.uniform(0, _WITHIN_S))
        if lasts_s is None:
            lasts_s = float(random.uniform(min(_LEAST_DOWN_S, profile.down_s), profile.down_s))
        return PlannedFault(number, after_s, kind, victims, lasts_s, persists)

    for number in range(1, rounds + 1):
        for device in _draw(random, devices, profile.kills):
            yield fault(number, FaultKind.DEVICE_KILL, (device,))
    for number in _rounds(random, rounds, profile.coordinator_kills):
        yield fault(number, FaultKind.COORDINATOR_KILL, (COORDINATOR,))
    for place, number in enumerate(_rounds(random, rounds, profile.broker_kills)):
        yield fault(number, FaultKind.BROKER_KILL, (BROKER,), persists=place % 2 == 0)
    members = (COORDINATOR, *devices)
    for number in _rounds(random, rounds, profile.partitions):
        half = _draw(random, members, (len(members) + 1) // 2)
        yield fault(number, FaultKind.PARTITION, half, profile.partition_s)


def _rounds(random: np.random.Generator, rounds: int, count: int) -> list[int]:
    """That many rounds in order, each a round of its own while there are enough."""
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += [int(n) + 1 for n in random.permutation(rounds)[: count - len(drawn)]]
    return sorted(drawn)


def _draw(random: np.random.Generator, names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names[int(index)] for index in sorted(random.permutation(len(names))[:count]))


def _random(purpose: str, seed: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(_SPAWN_KEYS[purpose],))
    return np.random.default_rng(sequence)
