"""Which faults a fleet suffers, and how many: `calm`, `flaky` or `harsh`, with settings.

    calm        flaky:kills=2        harsh:coordinator_kills=1,broker_kills=0,kbit_s=64

A profile says how much goes wrong; when, and to whom, is drawn from the run's seed (schedule.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from pfedfrz_protocol import ConfigurationError, parse_choice

from .link_conditions import LinkConditions

__all__ = ["FAULTS", "Calm", "FaultProfile", "Flaky", "Harsh", "find_faults"]

_LONGEST_S = 3600.0


@dataclass(frozen=True)
class FaultProfile:
    """How much goes wrong; subclasses differ in their defaults only."""

    name: ClassVar[str]

    kills: int = 0
    """Devices that are killed with SIGKILL in every round of training."""
    coordinator_kills: int = 0
    """How often the coordinator is killed in the whole run, in rounds of its own."""
    broker_kills: int = 0
    """How often the broker is killed in the whole run.

    It comes back with a database on disk after the first time and without one after the second,
    and so in turn: what it forgets, the members have to say again.
    """
    down_s: float = 1.5
    """The longest time that whoever was killed stays away."""
    partitions: int = 0
    """How often a half of all members, the coordinator among the candidates, is cut off."""
    partition_s: float = 4.0
    bad_links: int = 0
    """Devices whose link has the conditions below for the whole run; the other links are loopback.
    """
    kbit_s: float = 256.0
    """Bandwidth of a bad link, each way."""
    latency_ms: float = 200.0
    """Of a bad link, one way."""
    jitter_ms: float = 40.0
    loss: float = 0.005
    """Share of a bad link's segments that are lost; each stalls its direction for TCP's timer."""
    cut_every_s: float = 20.0
    """Mean time between resets of a bad link's connection; 0 for none."""
    slow_devices: int = 0
    """Devices that compute slowly: stopped and continued ten times a second."""
    slowdown: float = 3.0
    """By which factor."""

    def __post_init__(self) -> None:
        counts = ("kills", "coordinator_kills", "broker_kills", "partitions", "bad_links")
        for key in (*counts, "slow_devices"):
            if getattr(self, key) < 0:
                self._refuse(key, "0 or more")
        for key in ("down_s", "partition_s", "cut_every_s"):
            if not 0 <= getattr(self, key) <= _LONGEST_S:
                self._refuse(key, f"0 to {_LONGEST_S:g} seconds")
        for key in ("latency_ms", "jitter_ms"):
            if not 0 <= getattr(self, key) <= 60_000:
                self._refuse(key, "0 to 60000 milliseconds")
        if not (8 <= self.kbit_s < math.inf):
            self._refuse("kbit_s", "8 or more; below that not even a heartbeat is in time")
        if not 0 <= self.loss <= 0.5:
            self._refuse("loss", "0 to 0.5")
        if not 1 <= self.slowdown <= 100:
            self._refuse("slowdown", "1 to 100")

    def _refuse(self, key: str, want: str) -> None:
        raise ConfigurationError(f"faults {self.name}: {key} = {getattr(self, key):g}; want {want}")

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong at all."""
        process_faults = self.kills or self.coordinator_kills or self.broker_kills
        return not (process_faults or self.partitions or self.bad_links or self.slow_devices)

    @property
    def bad_link(self) -> LinkConditions:
        """What a bad link is like."""
        return LinkConditions(
            bytes_s=self.kbit_s * 1000 / 8,
            latency_s=self.latency_ms / 1000,
            jitter_s=self.jitter_ms / 1000,
            loss=self.loss,
            cut_every_s=self.cut_every_s,
        )

    def check_fleet(self, devices: int) -> None:
        """ConfigurationError when there are fewer devices than this profile wants to hurt."""
        for key in ("kills", "bad_links", "slow_devices"):
            wanted = getattr(self, key)
            if wanted > devices:
                raise ConfigurationError(
                    f"faults {self.name}: {key} = {wanted}, and the fleet has {devices} devices"
                )


@dataclass(frozen=True)
class Calm(FaultProfile):
    """Nothing goes wrong."""

    name: ClassVar[str] = "calm"


@dataclass(frozen=True)
class Flaky(FaultProfile):
    """A bad day: a device dies in every round, one link is poor, the network splits once."""

    name: ClassVar[str] = "flaky"
    kills: int = 1
    partitions: int = 1
    partition_s: float = 2.0
    bad_links: int = 1
    kbit_s: float = 1000.0
    latency_ms: float = 50.0
    jitter_ms: float = 20.0
    cut_every_s: float = 60.0


@dataclass(frozen=True)
class Harsh(FaultProfile):
    """Everything at once: no round without kills, and nobody is spared."""

    name: ClassVar[str] = "harsh"
    kills: int = 2
    coordinator_kills: int = 2
    broker_kills: int = 2
    partitions: int = 1
    bad_links: int = 1
    slow_devices: int = 1


FAULTS: Mapping[str, type[FaultProfile]] = MappingProxyType(
    {kind.name: kind for kind in (Calm, Flaky, Harsh)}
)
"""Every profile by its name."""


def find_faults(choice: str) -> FaultProfile:
    """The profile that `NAME` or `NAME:KEY=VALUE,...` stands for; see pfedfrz_protocol.choice."""
    return parse_choice(choice, "fault profile", FAULTS)
