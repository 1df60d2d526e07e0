"""The kernel's files as a test wants them."""

from __future__ import annotations

from pathlib import Path

from pfedfrz_edge.conditions import SystemFiles

__all__ = ["SystemTree"]


class SystemTree:
    """A root directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = SystemFiles(root)

    def write(self, path: str, content: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{content}\n")

    def supply(self, name: str, **entries: object) -> None:
        """One entry of /sys/class/power_supply."""
        for entry, content in entries.items():
            self.write(f"sys/class/power_supply/{name}/{entry}", content)

    def zone(self, number: int, millidegrees: object) -> None:
        self.write(f"sys/class/thermal/thermal_zone{number}/temp", millidegrees)

    def ticks(self, *, idle: int, others: int, own: int) -> None:
        """/proc/stat and this process's own, in clock ticks since the boot."""
        # guest time, 5000 here, is in user time already; waiting for a disk and steal are not work.
        self.write("proc/stat", f"cpu {others + own} 0 0 {idle} 0 0 0 0 5000 0\ncpu0 1 2 3 4")
        self.write("proc/self/stat", f"77 (a b) c) R 1 1 1 0 -1 0 0 0 0 0 {own} 0 0 0 20 0 9 0 555")
