"""What tests know of a run that is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_emulator.preparation import PreparedFleet
from pfedfrz_protocol import Parameters

ROUNDS = 3


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, and everything that went over its broker."""

    fleet: PreparedFleet
    directory: Path
    shared: Parameters
    messages: tuple[tuple[str, bytes], ...]

    def device_dir(self, name: str) -> Path:
        """Where the device keeps its personal weights."""
        for candidate in (self.directory / name, self.directory / "devices" / name):
            if candidate.is_dir():
                return candidate
        raise FileNotFoundError(name)


def final_shared(directory: Path) -> Parameters:
    """The shared weights after the last round."""
    return Checkpoints(directory / "coordinator" / "models").load(ROUNDS)
