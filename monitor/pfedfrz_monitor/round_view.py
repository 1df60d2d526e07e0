"""One round as its messages show it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from pfedfrz_protocol import LocalReport, Purpose, RoundBrief, RoundMetrics

__all__ = ["Cell", "Outcome", "RoundView"]


class Outcome(str, enum.Enum):
    """What came of a device's part in a round."""

    REPORTED = "reported"
    """It has reported, and its update is not yet accepted."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    MEASURED = "measured"
    """It answered an evaluation."""


@dataclass(slots=True)
class Cell:
    """One device in one round."""

    outcome: Outcome | None = None
    report: LocalReport | None = None
    detail: str = ""
    """Why it was rejected or failed."""
    norm: float | None = None
    """L2 norm of its update's step."""
    cosine: float | None = None
    """Cosine of its update's step to the mean of the others'."""


@dataclass(slots=True)
class RoundView:
    """One round; times are Unix seconds of this machine's clock, None where it was not watched."""

    number: int
    epoch: int = 0
    purpose: Purpose = Purpose.TRAIN
    openings: int = 0
    """How often it has been opened."""
    selected: frozenset[str] = frozenset()
    deadline_s: float = 0.0
    opened_at: float | None = None
    """When it was first opened."""
    closed_at: float | None = None
    brief: RoundBrief | None = None
    """Its numbers in a line, once it is closed."""
    metrics: RoundMetrics | None = None
    """All its numbers; only of rounds whose end was heard."""
    cells: dict[str, Cell] = field(default_factory=dict)
    revision: int = 0
    """The view's own, when this round last changed."""

    @property
    def is_closed(self) -> bool:
        """Whether its numbers are final."""
        return self.brief is not None
