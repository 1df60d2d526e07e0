"""What the doctor finds, one struct for each thing that it looks at."""

from __future__ import annotations

import msgspec

from pfedfrz_protocol import TrainableSet

__all__ = [
    "BrokerFinding",
    "ClockFinding",
    "DiskFinding",
    "FeatureCost",
    "RuntimeFinding",
    "StepCost",
]


class StepCost(msgspec.Struct, frozen=True):
    """One batch of the schedule's size: medians over repeats, in seconds."""

    wall_s: float
    cpu_s: float
    """CPU time over all threads: what the battery pays for."""


class FeatureCost(msgspec.Struct, frozen=True):
    """A trainable set whose frozen part is run once for a phase of several epochs."""

    sample: StepCost
    """The frozen part on one sample, in a batch."""
    step: StepCost
    """One batch from what it said."""


class RuntimeFinding(msgspec.Struct, frozen=True):
    """One runtime of the bundle on this board; `fault` says why it does not work."""

    runtime: str
    fault: str | None = None
    device: str = "cpu"
    """What computes: cpu, cuda or cuda:1."""
    steps: dict[TrainableSet, StepCost] = {}
    features: dict[TrainableSet, FeatureCost] = {}
    predict_sample_s: float = 0.0
    """Forward pass of one sample, in a batch."""
    predict_sample_cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    """Of a whole process that trains with every graph."""
    update_bytes: int = 0
    """An update's payload after a few steps, in the default encoding."""

    @property
    def works(self) -> bool:
        """Whether a device could train with it."""
        return self.fault is None


class DiskFinding(msgspec.Struct, frozen=True):
    """Room for the device's state."""

    directory: str
    free_bytes: int
    needed_bytes: int
    """Two versions of the personal weights, one being written, and an update that waits."""

    @property
    def suffices(self) -> bool:
        """Whether there is room."""
        return self.free_bytes >= self.needed_bytes


class BrokerFinding(msgspec.Struct, frozen=True):
    """One connection to the broker."""

    broker: str
    fault: str | None = None
    connect_s: float = 0.0


class ClockFinding(msgspec.Struct, frozen=True):
    """The board's clock: rounds do not need it, TLS certificates do."""

    now: str
    plausible: bool
    synchronized: bool | None
    """None where the system does not tell."""
