"""What a rule is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Rule"]


class Rule(Protocol):
    """One condition of training, asked every few seconds."""

    name: str
    """As `pfedfrz device status` shows it."""
    value: str
    """What was last read, for people; it may differ every time."""

    def check(self) -> str | None:
        """None while the device may train by this rule, or the reason why not, in one line.

        A reason says what is wanted and not what was read: the same cause has the same words, so
        that it is told once and not every few seconds.
        """
