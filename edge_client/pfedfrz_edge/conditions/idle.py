"""Training only while other programs leave the processor alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .system_files import SystemFiles

__all__ = ["Idle"]

_SHORTEST_S = 2.0
"""Over less than that, the kernel's clock ticks are too coarse."""
CALM_S = 60.0
"""For so long others must have left the processor alone before training goes on."""

_BUSY = (0, 1, 2, 5, 6)
"""user, nice, system, irq and softirq: not idle, not waiting for a disk, not other machines."""


@dataclass(frozen=True)
class _Ticks:
    everything: int
    busy: int
    own: int


class Idle:
    """Other processes use less than a share of all processors together.

    The share is (busy - own) / all, in clock ticks between two checks: `busy` and `all` from
    /proc/stat, `own` from this process's own stat, the children it has waited for included. So
    what training uses does not count, and does not end training. After a stop, every check of
    `CALM_S` seconds must have been below the share. Before the second check, and when a file cannot
    be read, the device waits.
    """

    name = "idle"

    def __init__(self, others_below: float, files: SystemFiles, clock: Callable[[], float]) -> None:
        self._others_below = others_below
        self._files = files
        self._clock = clock
        self._before: tuple[float, _Ticks] | None = None
        self._calm_at_s = -float("inf")
        self._reason: str | None = "idle: what others use of the CPU is not known yet"
        self.value = "not known yet"

    def check(self) -> str | None:
        """None while others use less than the share."""
        now_s = self._clock()
        if self._before is not None and now_s < self._before[0] + _SHORTEST_S:
            return self._reason
        ticks = self._ticks()
        if ticks is None:
            self._before, self.value = None, "cannot be read"
            self._reason = "idle: /proc/stat cannot be read; take others_cpu_below out of the TOML"
            return self._reason
        before, self._before = self._before, (now_s, ticks)
        if before is None:
            return self._reason
        self._judge(_share(before[1], ticks), now_s)
        return self._reason

    def _judge(self, share: float, now_s: float) -> None:
        self.value = f"others use {share:.0%} of the CPU"
        if share >= self._others_below:
            self._calm_at_s = now_s + CALM_S
            self._reason = f"idle: others use {self._others_below:.0%} of the CPU or more"
        elif now_s >= self._calm_at_s:
            self._reason = None

    def _ticks(self) -> _Ticks | None:
        system, own = self._files.text("proc/stat"), self._files.text("proc/self/stat")
        if system is None or own is None:
            return None
        try:
            first = system.splitlines()[0].split()
            if first[0] != "cpu":
                raise ValueError("it does not begin with the sum of all processors")
            # guest time is part of user time: only the first eight columns are summed.
            columns = [int(column) for column in first[1:9]]
            # The name, in parentheses, may hold anything; user, system and children's times are
            # the 14th to the 17th column of the whole.
            used = [int(column) for column in own.rpartition(")")[2].split()[11:15]]
            busy = sum(columns[place] for place in _BUSY)
            if len(used) != 4:
                raise ValueError("it is too short")
        except (ValueError, IndexError) as error:
            self._files.complain("proc/stat", str(error))
            return None
        return _Ticks(sum(columns), busy, sum(used))


def _share(before: _Ticks, after: _Ticks) -> float:
    passed = max(1, after.everything - before.everything)
    others = (after.busy - before.busy) - (after.own - before.own)
    return min(1.0, max(0.0, others / passed))
