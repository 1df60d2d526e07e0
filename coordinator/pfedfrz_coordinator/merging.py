"""From the accepted updates of a round to the next model, here or out of the workers' sums."""

from __future__ import annotations

from collections.abc import Callable

from .aggregation import AggregationRule
from .engine import RoundEngine
from .engine_exchange import AggregationDone, Event, UpdatesLost
from .round_models import RoundModels
from .state import CoordinatorState
from .work_desk import WorkDesk

__all__ = ["Merging"]


class Merging:
    """Makes the models of one federation."""

    def __init__(
        self,
        rule: AggregationRule,
        seed: int,
        state: CoordinatorState,
        models: RoundModels,
        engine: RoundEngine,
        workers: WorkDesk | None,
        feed: Callable[[Event], None],
    ) -> None:
        """`workers`, if any, add up what they hold; `feed` takes the engine's events."""
        self._rule = rule
        self._seed = seed
        self._state = state
        self._models = models
        self._engine = engine
        self._workers = workers
        self._feed = feed

    def begin(self, number: int, devices: tuple[str, ...]) -> None:
        """Make the next model of these devices' updates, or begin to collect it."""
        if self._workers is None:
            shared = self._state.aggregate(number, devices, self._rule, self._seed)
            self._feed(AggregationDone(self._models.replace(number, shared)))
            return
        journal = self._state.journal
        samples = {row.device: row.samples for row in journal.members(number)}
        wanted = {device: samples[device] for device in devices}
        self._workers.collect(number, self._engine.epoch, wanted, journal.holdings(number))
        self.go_on()

    def wake_at_s(self) -> float | None:
        """When `go_on` is due at the latest; None when only messages matter."""
        return None if self._workers is None else self._workers.wake_at_s()

    def go_on(self) -> None:
        """Make the next model of partial sums once they are here; ask again for what is lost."""
        collection = None if self._workers is None else self._workers.collected()
        if collection is None:
            return
        number, lost = collection.round, collection.lost
        for worker in sorted(set(lost.values())):
            count = sum(holder == worker for holder in lost.values())
            self._state.journal.note(
                f"round {number}: worker {worker} did not give the sum of {count} accepted updates"
            )
        for device in lost:
            self._state.journal.forget_accepted(number, device)
        if lost:
            self._feed(UpdatesLost(number, tuple(sorted(lost))))
            return
        shared = self._state.finish_mean(number, collection.local, collection.total)
        self._feed(AggregationDone(self._models.replace(number, shared)))
