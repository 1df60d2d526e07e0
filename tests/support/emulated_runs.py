"""What tests know of a run that is over."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_emulator.preparation import PreparedFleet
from pfedfrz_protocol import Encoding, Parameters

ROUNDS = 3


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, and everything that went over its broker."""

    fleet: PreparedFleet
    directory: Path
    shared: Parameters
    messages: tuple[tuple[str, bytes], ...]
    federation: str
    encodings: Mapping[str, Encoding]
    """How each device writes its updates."""
    logs: bytes
    """All that coordinator, devices and the broker have said for people."""

    def device_dir(self, name: str) -> Path:
        """Where the device keeps its personal weights."""
        devices = self.directory / "devices"
        for candidate in (self.directory / name, devices / name / "state", devices / name):
            if candidate.is_dir():
                return candidate
        raise FileNotFoundError(name)


def final_shared(directory: Path) -> Parameters:
    """The shared weights after the last round, of a coordinator in `coordinator/[state/]`."""
    coordinator = directory / "coordinator"
    state = coordinator / "state" if (coordinator / "state").is_dir() else coordinator
    return Checkpoints(state / "models").load(ROUNDS)


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """What this process logs meanwhile, down to the least important."""
    text = io.StringIO()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
