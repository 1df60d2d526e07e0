"""How much memory a process held, without what an emulator around it needs for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PeakMemory:
    """In MiB."""

    own: int
    emulator: int

    def __str__(self) -> str:
        if not self.emulator:
            return f"{self.own} MiB at most"
        return f"{self.own} MiB at most, and {self.emulator} MiB of the emulator"


def peak_memory(process: int | str = "self") -> PeakMemory:
    """The most that a process ever held.

    What qemu translates lies in memory that can be written and executed, which nothing else has
    here and which only grows; qemu's own program is named.
    """
    files = Path("/proc") / str(process)
    peak_kib = int((files / "status").read_text().split("VmHWM:")[1].split()[0])
    emulator_kib, is_emulators = 0, False
    for line in (files / "smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            is_emulators = fields[1].startswith("rwx") or "qemu" in fields[-1]
        elif is_emulators and fields[0] == "Rss:":
            emulator_kib += int(fields[1])
    return PeakMemory((peak_kib - emulator_kib) >> 10, emulator_kib >> 10)
