"""A run once more, from its journal: paused, quicker, or from any moment on.

`Player` is the whole of it without a clock; `ReplayWatch` adds a thread, and is what faces draw.
The view's own clock is the run's: whoever shows how long a round has been open asks `view.clock`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from pfedfrz_coordinator.circumstances import read_circumstances
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.registry import read_registry
from pfedfrz_protocol import ConfigurationError, OperatorAction, OperatorAnswer, Topics

from .report.records import RunState
from .runs.description import RunDescription
from .runs.place import RunPlace, find_place
from .runs.reading import state_of
from .timeline import Moment, Timeline
from .view import FederationView
from .watch import Health

__all__ = ["Player", "ReplayWatch", "open_replay"]

_AT_ONCE = 500
"""Moments that are shown before whoever reads the view has a turn."""
_LONGEST_WAIT_S = 0.5
_SLOWEST, _QUICKEST = 0.01, 1e6
_UNNAMED = "replay"


class Player:
    """Shows a timeline's moments to a view, forwards to any time, or backwards by a new view."""

    def __init__(self, timeline: Timeline, topics: Topics) -> None:
        self._timeline = timeline
        self._topics = topics
        self.began, self.ended = timeline.limits
        self.now = self.began
        """Unix seconds of the coordinator's clock: all until then has been shown."""
        self.view = self._new_view()
        self._left = timeline.moments()
        self._next = next(self._left, None)

    @property
    def next_at(self) -> float | None:
        """When the next moment is; None behind the last."""
        return None if self._next is None else self._next.at

    def advance(self, until: float, at_most: int) -> bool:
        """Show up to `at_most` moments that are due by then; whether none is left that is due."""
        for _ in range(at_most):
            moment: Moment | None = self._next
            if moment is None or moment.at > until:
                self.now = max(self.now, min(until, self.ended))
                return True
            self.now = max(self.now, moment.at)
            moment.show(self.view)
            self._next = next(self._left, None)
        return False

    def rewind(self) -> None:
        """Begin anew, with a view whose revision goes on."""
        before = self.view.revision
        self.now = self.began
        self.view = self._new_view()
        self.view.revision = before + 1
        self._left = self._timeline.moments()
        self._next = next(self._left, None)

    def _new_view(self) -> FederationView:
        return FederationView(self._topics, clock=lambda: self.now)


class ReplayWatch:
    """A run that is played again; for any thread, but for `start` and `close`."""

    def __init__(
        self,
        place: RunPlace,
        speed: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read what is needed; OperationError when a file is damaged, ConfigurationError for a
        speed that cannot be and a run in which nothing has happened.
        """
        self._place = place
        self._clock = clock
        self._journal = Journal(place.journal, read_only=True, any_thread=True)
        try:
            self._speed = _checked(speed)
            timeline, topics = _timeline(place, self._journal)
            self._player = Player(timeline, topics)
            if self._player.next_at is None or self._player.began == 0.0:
                raise ConfigurationError(
                    f"{place.directory}: nothing to replay: no round was opened yet"
                )
        except BaseException:
            self._journal.close()
            raise
        self.labels = _labels(timeline.description)
        """What is known of devices, by name: who attacks."""
        self.generation = 0
        """Grows when `seek` goes back: whoever draws by revisions then begins anew."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._paused = self._closing = False
        self._at_position = self._player.began
        self._at_clock = clock()
        self._began_s = time.time()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)

    @property
    def may_act(self) -> bool:
        """Never: what is over cannot be changed."""
        return False

    @property
    def health(self) -> Health:
        """Where it comes from; `fault` is empty, since nothing can be cut off."""
        return Health(
            f"replay of {self._place.directory}",
            True,
            self._began_s,
            heard=True,
            speed=self._speed,
        )

    @property
    def length_s(self) -> float:
        """How long the run took."""
        return self._player.ended - self._player.began

    @property
    def position_s(self) -> float:
        """How far it is, in seconds of the run."""
        with self._lock:
            return self._wanted() - self._player.began

    @property
    def is_over(self) -> bool:
        """Whether all has been shown."""
        with self._lock:
            return self._player.next_at is None

    @property
    def is_paused(self) -> bool:
        """Whether it stands still by command."""
        return self._paused

    @property
    def speed(self) -> float:
        """So many times as quick as it was."""
        return self._speed

    def start(self) -> None:
        """Begin to play."""
        with self._lock:
            self._at_clock = self._clock()
        self._thread.start()

    def close(self) -> None:
        """End it; the view stays as it is."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._journal.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[FederationView]:
        """The view, which does not change meanwhile; after `seek` it may be another one."""
        with self._lock:
            yield self._player.view

    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        """ConfigurationError: nobody can change what is over."""
        raise ConfigurationError("a replay shows what has been: nothing can be changed in it")

    def pause(self) -> None:
        """Stand still."""
        with self._changed:
            self._hold()
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Go on."""
        with self._changed:
            self._hold()
            self._paused = False
            self._changed.notify_all()

    def set_speed(self, speed: float) -> None:
        """From now on so many times as quick as it was; ConfigurationError for none above 0."""
        with self._changed:
            self._hold()
            self._speed = _checked(speed)
            self._changed.notify_all()

    def seek(self, position_s: float) -> None:
        """Go to so many seconds behind the run's beginning, backwards too."""
        with self._changed:
            self._at_position = self._player.began + min(max(0.0, position_s), self.length_s)
            self._at_clock = self._clock()
            if self._at_position < self._player.now:
                self._player.rewind()
                self.generation += 1
            self._changed.notify_all()

    def play_due(self) -> float | None:
        """Show what is due by the clock; seconds until there is more, None when it stands still.

        The thread's work, for whoever has a clock of its own.
        """
        while True:
            with self._lock:
                wanted = self._wanted()
                if self._player.advance(wanted, _AT_ONCE):
                    due = self._player.next_at
                    if due is None or self._paused:
                        return None
                    return max(0.0, (due - wanted) / self._speed)

    def _wanted(self) -> float:
        """Where the run should be now."""
        passed = 0.0 if self._paused else (self._clock() - self._at_clock) * self._speed
        return min(self._player.ended, self._at_position + passed)

    def _hold(self) -> None:
        """Count anew from where it is."""
        self._at_position, self._at_clock = self._wanted(), self._clock()

    def _run(self) -> None:
        while not self._closing:
            wait_s = self.play_due()
            with self._changed:
                if not self._closing:
                    self._changed.wait(_LONGEST_WAIT_S if wait_s is None else
                                       min(wait_s, _LONGEST_WAIT_S))  # fmt: skip


def open_replay(path: Path, speed: float = 1.0) -> ReplayWatch:
    """The run at `path` to be watched once more; errors as `find_place` and `ReplayWatch`."""
    return ReplayWatch(find_place(path), speed)


def _timeline(place: RunPlace, journal: Journal) -> tuple[Timeline, Topics]:
    description = RunDescription.load(place.directory)
    circumstances, _ = read_circumstances(journal)
    registry = read_registry(place.state_dir)
    rounds = description.settings.rounds if description else None
    is_over = state_of(journal, circumstances, rounds) is RunState.FINISHED
    federation = circumstances.federation if circumstances else _UNNAMED
    return Timeline(journal, description, circumstances, registry, is_over), Topics(federation)


def _labels(description: RunDescription | None) -> dict[str, str]:
    devices = description.devices if description else ()
    return {device.name: "attacker" for device in devices if device.attacker}


def _checked(speed: float) -> float:
    if not _SLOWEST <= speed <= _QUICKEST:
        raise ConfigurationError(f"speed {speed:g}: want {_SLOWEST:g} to {_QUICKEST:g}")
    return speed
