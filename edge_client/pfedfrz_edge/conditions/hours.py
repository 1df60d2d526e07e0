"""Training only at certain hours of the day."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from pfedfrz_protocol import ConfigurationError

__all__ = ["Hours", "parse_window"]

_WINDOW = re.compile(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", re.ASCII)
_DAY_MINUTES = 24 * 60


def parse_window(text: str) -> tuple[int, int]:
    """ "22:00-06:00" as minutes of the day, (from, until); ConfigurationError for anything else.

    24:00 is the end of the day. A window over midnight ends before it begins.
    """
    found = _WINDOW.fullmatch(text)
    if found:
        hours = [int(part) for part in found.groups()]
        begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if begin < _DAY_MINUTES and end <= _DAY_MINUTES and begin != end:
            return begin, end
    raise ConfigurationError(
        f'hours = {text!r}: write windows such as "22:00-06:00", and leave hours out for always'
    )


class Hours:
    """The local time is in one of the windows; the first minute counts, the last one does not."""

    name = "hours"

    def __init__(
        self,
        windows: Sequence[str],
        local_time: Callable[[], time.struct_time] = time.localtime,
    ) -> None:
        self._windows = [parse_window(text) for text in windows]
        self._reason = f"hours: trains at {', '.join(windows)}"
        self._local_time = local_time
        self.value = ""

    def check(self) -> str | None:
        """None inside of a window."""
        now = self._local_time()
        minute = now.tm_hour * 60 + now.tm_min
        self.value = f"{now.tm_hour:02}:{now.tm_min:02}"
        for begin, end in self._windows:
            inside = begin <= minute < end if begin < end else minute >= begin or minute < end
            if inside:
                return None
        return self._reason
