"""When the coordinator's loop is looked at, and what is seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pfedfrz_protocol import RoundMetrics
from pfedfrz_transport import Link

from .engine import RoundEngine
from .ignored_messages import IgnoredMessages
from .instruments import Instruments, Situation
from .journal import Journal
from .registry import Registry

__all__ = ["Measuring"]

_LOOK_S = 1.0
_COUNT_S = 5.0
"""All devices that were ever known are counted for the standings."""


class Measuring:
    """Feeds the instruments of one coordinator; without any it does nothing."""

    def __init__(
        self,
        instruments: Instruments | None,
        engine: RoundEngine,
        link: Link,
        journal: Journal,
        registry: Registry,
        ignored: IgnoredMessages,
        clock: Callable[[], float],
    ) -> None:
        """Shows at once how an earlier life has left the federation."""
        self._instruments = instruments
        self._engine = engine
        self._link = link
        self._journal = journal
        self._registry = registry
        self._ignored = ignored
        self._clock = clock
        self._looked_s = self._counted_s = -float("inf")
        if instruments is not None:
            for row in journal.closed_rounds(1):
                if row.metrics is not None and row.closed_at is not None:
                    instruments.resumed(row.metrics, row.closed_at)
            self.look()

    def look(self) -> None:
        """Look at the loop, if the last look is a while ago."""
        if self._instruments is None:
            return
        now_s = self._clock()
        if now_s >= self._looked_s + _LOOK_S:
            self._looked_s = now_s
            self._show(self._instruments)
        if now_s >= self._counted_s + _COUNT_S:
            self._counted_s = now_s
            self._instruments.standings(Counter(row.standing for row in self._registry.rows()))

    def aggregating(self) -> None:
        """The next model is begun."""
        if self._instruments is not None:
            self._instruments.aggregating(self._clock())

    def closed(self, metrics: RoundMetrics) -> None:
        """A round was closed in the journal."""
        row = None if self._instruments is None else self._journal.round(metrics.round)
        if self._instruments is None or row is None or row.closed_at is None:
            return
        self._instruments.closed(
            metrics,
            lambda: self._journal.members(metrics.round),
            closed_at=row.closed_at,
            now_s=self._clock(),
        )
        self._show(self._instruments)

    def _show(self, instruments: Instruments) -> None:
        engine = self._engine
        online, waiting, silent = engine.presences
        instruments.look(
            Situation(
                engine.state,
                engine.round,
                engine.is_paused,
                self._link.is_up,
                online,
                waiting,
                silent,
                self._ignored.counts,
            )
        )
