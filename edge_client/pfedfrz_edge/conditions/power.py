"""Training only on mains, or with enough in the battery."""

from __future__ import annotations

from .system_files import SystemFiles

__all__ = ["Power"]

_SUPPLIES = "sys/class/power_supply"
_CELLS = ("Battery", "UPS")
_UNREADABLE = "unreadable"
"""May be a battery."""
_CHARGING = ("Charging", "Full", "Not charging")
"""What a battery says while something else feeds the board."""


class Power:
    """The board is on mains; or, where a level is given, its emptiest battery has that much.

    What has no battery under /sys/class/power_supply is on mains, whatever else is there: many
    boards have an entry of type USB that is never online, and yet they run. Batteries of other
    things (a mouse) do not count. Where there is no entry of type Mains, USB or Wireless, every
    battery must say that it is fed. What cannot be read counts as not plugged in, and as an empty
    battery.
    """

    name = "power"

    def __init__(self, battery_at_least: int | None, files: SystemFiles) -> None:
        """`battery_at_least` in percent; None: mains only."""
        self._at_least = battery_at_least
        self._files = files
        self.value = ""

    def check(self) -> str | None:
        """None on mains, and with enough in the battery."""
        supplies = self._supplies()
        levels = [self._level(path) for path, kind in supplies if kind in _CELLS]
        on_mains = self._is_on_mains(supplies)
        known = f"battery at {min(levels)} %" if levels else "no battery"
        self.value = f"{'on mains' if on_mains else 'not on mains'}, {known}"
        if on_mains:
            return None
        if self._at_least is None:
            return "power: not on mains"
        if levels and min(levels) >= self._at_least:
            return None
        return f"power: not on mains, and the battery is below {self._at_least} %"

    def _supplies(self) -> list[tuple[str, str]]:
        """(path, type) of what feeds this board."""
        found = []
        for path in self._files.folders(_SUPPLIES):
            if self._optional(f"{path}/scope") == "Device":
                continue
            if self._optional(f"{path}/present") == "0":
                continue
            found.append((path, self._files.text(f"{path}/type") or _UNREADABLE))
        return found

    def _optional(self, path: str) -> str | None:
        """Many drivers leave these files out; that is nothing to complain of."""
        return self._files.text(path) if self._files.exists(path) else None

    def _is_on_mains(self, supplies: list[tuple[str, str]]) -> bool:
        if not any(kind in (*_CELLS, _UNREADABLE) for _, kind in supplies):
            return True
        cells = [path for path, kind in supplies if kind in _CELLS]
        lines = [path for path, kind in supplies if kind not in _CELLS]
        if lines:
            return any(self._files.number(f"{path}/online") for path in lines)
        return all(self._files.text(f"{path}/status") in _CHARGING for path in cells)

    def _level(self, path: str) -> int:
        return self._files.number(f"{path}/capacity") or 0
