"""Byte counts that the processes of a benchmark share: what each has begun to send, what arrived.

The yardstick has no grants, so without this its publishers would outrun the subscriber and the
broker would hold, and then drop, what it cannot deliver. With it they keep as much under way as a
wave of granted uploads. A file mapped into every process costs no messages.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["Ledger"]


class Ledger:
    """One count of what arrived, and one for each sender."""

    def __init__(self, path: str | Path, *, senders: int = 0) -> None:
        """Map the file; `senders` above 0 makes it."""
        if senders:
            np.zeros(1 + senders, np.int64).tofile(path)
        self._counts = np.memmap(path, np.int64, "r+")

    def clear(self) -> None:
        """Begin anew; nobody may be sending."""
        self._counts[:] = 0

    def add_sent(self, place: int, size: int) -> None:
        """A sender begins to send so many bytes."""
        self._counts[1 + place] += size

    def set_arrived(self, size: int) -> None:
        """So many bytes have arrived in all."""
        self._counts[0] = size

    @property
    def under_way(self) -> int:
        """The bytes that were sent and have not arrived."""
        return int(self._counts[1:].sum() - self._counts[0])
