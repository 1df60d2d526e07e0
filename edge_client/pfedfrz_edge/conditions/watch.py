"""All rules of a device together, asked at their time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from .hours import Hours
from .idle import Idle
from .metered import Metered
from .power import Power
from .rule import Rule
from .settings import ConditionSettings
from .system_files import SystemFiles
from .temperature import Temperature

__all__ = ["ConditionWatch", "watch_conditions"]

log = logging.getLogger(__name__)
_SAY_AGAIN_S = 3600.0
"""What keeps a device from training is said again in the log after so long, not before."""


class ConditionWatch:
    """The rules of one device, and what they last said."""

    def __init__(
        self, rules: Sequence[Rule], check_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = tuple(rules)
        self._check_s = check_s
        self._clock = clock
        self._next_s = -float("inf")
        self._reasons: tuple[str, ...] = ()
        self._said_s: dict[str, float] = {}
        self._is_end_unsaid = False

    @property
    def waiting_for(self) -> str:
        """Why the device may not train, in one line; empty when it may."""
        return "; ".join(self._reasons)

    @property
    def values(self) -> Mapping[str, str]:
        """What each rule last read, by its name."""
        return {rule.name: rule.value for rule in self._rules}

    @property
    def due_s(self) -> float:
        """When to look again, by the clock; infinite without rules."""
        return self._next_s if self._rules else float("inf")

    def look(self) -> bool:
        """Ask every rule if it is time; whether `waiting_for` has changed."""
        now_s = self._clock()
        if now_s < self.due_s:
            return False
        self._next_s = now_s + self._check_s
        # Every rule is asked, whatever the first one says: each has its own past.
        asked = [rule.check() for rule in self._rules]
        before, self._reasons = self._reasons, tuple(r for r in asked if r is not None)
        self._tell(before, now_s)
        return self._reasons != before

    def _tell(self, before: Sequence[str], now_s: float) -> None:
        """Say what is new, but each reason once an hour; its end if its beginning was said."""
        for reason in self._reasons:
            last_s = self._said_s.get(reason)
            if reason in before or (last_s is not None and now_s < last_s + _SAY_AGAIN_S):
                continue
            self._said_s[reason] = now_s
            self._is_end_unsaid = True
            log.info("training waits: %s", reason)
        if not self._reasons and self._is_end_unsaid:
            self._is_end_unsaid = False
            log.info("training may go on")


def watch_conditions(
    settings: ConditionSettings,
    files: SystemFiles | None = None,
    clock: Callable[[], float] = time.monotonic,
    local_time: Callable[[], time.struct_time] = time.localtime,
) -> ConditionWatch:
    """The rules that the settings ask for."""
    files = files or SystemFiles()
    rules: list[Rule] = []
    if settings.others_cpu_below is not None:
        rules.append(Idle(settings.others_cpu_below, files, clock))
    if settings.mains_only or settings.battery_at_least is not None:
        rules.append(Power(settings.battery_at_least, files))
    if settings.hot_c is not None:
        rules.append(Temperature(settings.hot_c, settings.resume_below_c, files))
    if settings.hours is not None:
        rules.append(Hours(settings.hours, local_time))
    if settings.metered_patterns:
        rules.append(Metered(settings.metered_patterns, files))
    return ConditionWatch(rules, settings.check_s, clock)
