"""Training only while the board is cool."""

from __future__ import annotations

from .system_files import SystemFiles

__all__ = ["Temperature"]

_ZONES = "sys/class/thermal"


class Temperature:
    """The hottest zone is below `hot_c`; once it was not, below `cool_c`.

    Zones that cannot be read are left out, as those of a radio that is off; when none can be read
    the device waits.
    """

    name = "temperature"

    def __init__(self, hot_c: float, cool_c: float, files: SystemFiles) -> None:
        self._hot_c = hot_c
        self._cool_c = cool_c
        self._files = files
        self._is_hot = False
        self.value = ""

    def check(self) -> str | None:
        """None while it is cool."""
        zones = self._files.folders(_ZONES, "thermal_zone*")
        read = [self._files.number(f"{zone}/temp") for zone in zones]
        known = [millidegrees / 1000 for millidegrees in read if millidegrees is not None]
        if not known:
            self.value = "cannot be read"
            return f"temperature: no zone in /{_ZONES} can be read; take hot_c out of the TOML"
        hottest_c = max(known)
        self.value = f"{hottest_c:.1f} C"
        self._is_hot = hottest_c >= (self._cool_c if self._is_hot else self._hot_c)
        if not self._is_hot:
            return None
        return f"temperature: reached {self._hot_c:g} C, goes on below {self._cool_c:g} C"
