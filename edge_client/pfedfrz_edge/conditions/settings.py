"""The table `[conditions]` of device.toml."""

from __future__ import annotations

import msgspec

from pfedfrz_protocol import ConfigurationError

from .hours import parse_window
from .metered import METERED

__all__ = ["ConditionSettings"]

_COOLER_C = 10.0
_LONGEST_S = 3600.0


class ConditionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the device may train; with nothing set, always."""

    others_cpu_below: float | None = None
    """Train while other processes use less than this share of all processors, above 0 to 1."""
    mains_only: bool = False
    """Train only on mains."""
    battery_at_least: int | None = None
    """Train on mains, or with at least so many percent in the battery."""
    hot_c: float | None = None
    """Pause when the hottest thermal zone reaches this."""
    cool_c: float | None = None
    """Go on below this; by default 10 degrees below hot_c."""
    hours: tuple[str, ...] | None = None
    """Windows of local time, such as "22:00-06:00"."""
    avoid_metered: bool | tuple[str, ...] = False
    """True, or patterns of the names of interfaces that cost by the byte."""
    check_s: float = 5.0
    """Seconds between two looks."""

    def __post_init__(self) -> None:
        self._check_power()
        self._check_temperature()
        share = self.others_cpu_below
        if share is not None and not 0 < share <= 1:
            raise ConfigurationError(f"others_cpu_below = {share} (want above 0, at most 1)")
        if self.hours is not None and not self.hours:
            raise ConfigurationError("hours = [] would never train: leave hours out for always")
        for window in self.hours or ():
            parse_window(window)
        if self.avoid_metered == () or (
            isinstance(self.avoid_metered, tuple) and not all(self.avoid_metered)
        ):
            raise ConfigurationError(
                "avoid_metered holds no pattern: write true for the usual names, or false"
            )
        if not 0 < self.check_s <= _LONGEST_S:
            raise ConfigurationError(
                f"check_s = {self.check_s} (want above 0, at most {_LONGEST_S:g})"
            )

    def _check_power(self) -> None:
        level = self.battery_at_least
        if level is None:
            return
        if not 1 <= level <= 100:
            raise ConfigurationError(f"battery_at_least = {level} (want percent, 1 to 100)")
        if self.mains_only:
            raise ConfigurationError(
                "mains_only and battery_at_least cannot both be: the one never trains on a "
                "battery, the other does"
            )

    def _check_temperature(self) -> None:
        hot, cool = self.hot_c, self.cool_c
        if hot is None and cool is not None:
            raise ConfigurationError("cool_c is for a device with hot_c: set that too")
        for name, value in (("hot_c", hot), ("cool_c", cool)):
            if value is not None and not -50 <= value <= 150:
                raise ConfigurationError(f"{name} = {value} (want degrees Celsius, -50 to 150)")
        if hot is not None and cool is not None and cool >= hot:
            raise ConfigurationError(f"cool_c = {cool} is not below hot_c = {hot}")

    @property
    def resume_below_c(self) -> float:
        """`cool_c`, or what it is by default."""
        return (self.hot_c or 0.0) - _COOLER_C if self.cool_c is None else self.cool_c

    @property
    def metered_patterns(self) -> tuple[str, ...]:
        """Which interfaces are to be avoided."""
        if isinstance(self.avoid_metered, bool):
            return METERED if self.avoid_metered else ()
        return self.avoid_metered
