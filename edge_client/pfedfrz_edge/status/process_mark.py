"""A process that can be recognized after it has ended and its number belongs to another one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

__all__ = ["ProcessMark", "mark_of_this_process"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class ProcessMark(msgspec.Struct, frozen=True):
    """One process of one boot of a machine."""

    pid: int
    started_ticks: int | None = None
    """Clock ticks from the boot to its start; None where the system does not tell."""
    boot: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs now."""
        if self.boot != _boot():
            return False
        if self.started_ticks is not None:
            return _started_ticks(self.pid) == self.started_ticks
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's
            return True
        return True


def mark_of_this_process() -> ProcessMark:
    """The mark of the process that asks."""
    return ProcessMark(os.getpid(), _started_ticks(os.getpid()), _boot())


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()  # the name before it may hold anything
    ended = fields[0] in (b"Z", b"X")  # and nobody has asked for its exit code yet
    return None if ended else int(fields[19])
