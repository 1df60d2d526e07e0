"""Quantities as a person reads them."""

from __future__ import annotations

import math

__all__ = ["count", "duration", "percent", "share", "size"]

_ABSENT = "-"


def percent(value: float | None) -> str:
    """A share of one as "71.2 %"; "-" for none."""
    told = share(value)
    return told if told == _ABSENT else f"{told} %"


def share(value: float | None) -> str:
    """A share of one without its unit, for a column: "71.2"; "-" for none."""
    return _ABSENT if value is None or not math.isfinite(value) else f"{value * 100:.1f}"


def size(count_bytes: float) -> str:
    """Bytes as "1.25 MB"."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count_bytes >= factor:
            value = count_bytes / factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Seconds as "1.5 s", "2:05 min", "3:20 h" or "4 d"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
    if seconds < 86_400:
        return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02} h"
    return f"{int(seconds) // 86_400} d"


def count(number: int, thing: str) -> str:
    """A number of things: "1 device", "2 devices"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
