"""What another process has used: CPU seconds and memory, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_seconds", "peak_memory_mb"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time of all its threads so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_memory_mb(pid: int) -> float:
    """The most memory it has had resident, in MB of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"process {pid} has no VmHWM")
