"""Numbers that grow also when everything that remembers them is lost: seconds since 2020."""

from __future__ import annotations

__all__ = ["seconds_since_2020"]

_EPOCH_ZERO_S = 1_577_836_800  # 2020-01-01 UTC
_LATEST_EPOCH = 900_000_000
"""In 2048. An epoch is a number of nine digits, and it has to grow with every start after that."""


def seconds_since_2020(clock_s: int) -> int | None:
    """Of Unix seconds; None when that clock is wrong by decades and must not be believed."""
    now = clock_s - _EPOCH_ZERO_S
    return now if 0 <= now <= _LATEST_EPOCH else None
