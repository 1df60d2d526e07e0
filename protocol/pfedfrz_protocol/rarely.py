"""When to say again what happens again and again: a flood of messages is no flood of the log."""

from __future__ import annotations

from collections import Counter

__all__ = ["Rarely"]


class Rarely:
    """Counts what occurs, each thing under its own name, and says when it is worth a line.

    Of n occurrences these are the powers of two, so that n of them make at most 1 + log2(n) lines.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def occurs(self, name: str) -> bool:
        """Count one more; True at the 1st, 2nd, 4th, 8th ... of that name."""
        self._counts[name] += 1
        count = self._counts[name]
        return count & (count - 1) == 0

    def count(self, name: str) -> int:
        """How often it has occurred so far."""
        return self._counts[name]
