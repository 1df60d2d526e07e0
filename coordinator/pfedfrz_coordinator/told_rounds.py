"""The closed rounds that are told to whoever comes late."""

from __future__ import annotations

from collections import deque

from pfedfrz_protocol import MAX_ROUNDS_TOLD, RoundBrief, RoundHistory, brief_round

from .journal import Journal, RoundRow

__all__ = ["ToldRounds"]


class ToldRounds:
    """The last `MAX_ROUNDS_TOLD` closed rounds of a journal, oldest first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._briefs = deque[RoundBrief](maxlen=MAX_ROUNDS_TOLD)
        for row in journal.closed_rounds(MAX_ROUNDS_TOLD):
            self._add(row)

    def closed(self, number: int) -> None:
        """A round was closed in the journal."""
        row = self._journal.round(number)
        if row is not None:
            self._add(row)

    def message(self) -> RoundHistory:
        """What is told."""
        return RoundHistory(tuple(self._briefs))

    def _add(self, row: RoundRow) -> None:
        """Numbers that an older version wrote in another form are left out."""
        metrics = row.metrics
        if metrics is None or row.closed_at is None:
            return
        self._briefs.append(brief_round(metrics, row.closed_at))
