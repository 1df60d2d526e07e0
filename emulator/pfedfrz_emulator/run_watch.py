"""Watching a run until it is over: what is drawn, what is noted, and when it is given up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pfedfrz_monitor import FederationView, Kind
from pfedfrz_protocol import DesiredState, OperationError
from pfedfrz_transport import Link, LinkDown, LinkUp, Message

from .brokers import RunningBroker
from .faults import FaultInjector
from .fleet import Fleet
from .live_table import LiveTable

__all__ = ["RunWatch"]

_LOOK_S = 0.25
_HOPELESS_S = 2.0
"""The news that a round has closed may come a little after the failure of its last device."""
_MAX_OPENINGS = 5
_WAITS_S = 60.0
_FAULTS = {Kind.REJECTED: "update rejected, ", Kind.FAILED: ""}


@dataclass
class RunWatch:
    """One run under way, seen through a link of its own."""

    link: Link
    view: FederationView
    members: Fleet
    table: LiveTable
    broker: RunningBroker
    faults: FaultInjector | None = None
    notes: list[str] = field(default_factory=list)
    """What a reader of the report has to know."""
    _told: int = 0
    _last_fault: str = ""
    _told_opening: tuple[int, int] = (1, 1)
    _was_up: bool = False
    _hopeless_since_s: float | None = None
    _seen_opening: tuple[int, int, bool] | None = None
    _moved_s: float = 0.0

    def until_over(self) -> None:
        """Return when the rounds are over.

        Raises OperationError when they cannot be: no coordinator, no device or no broker is left,
        or the same round fails again and again.
        """
        while not self.members.is_over():
            self._look()
            for lost in self.members.newly_lost():
                text = f"{lost.describe()}; the run goes on without it"
                self.notes.append(text)
                self.table.note(text)
            if not (self.broker.is_running or self._is_broker_expected_back):
                raise OperationError(f"the broker has ended in mid-run; see {self.broker.log_path}")
            self._give_up_if_hopeless()
            self._give_up_if_nothing_opens()
        self._look()

    @property
    def _is_broker_expected_back(self) -> bool:
        return self.faults is not None and self.faults.is_broker_down

    def _inject_faults(self, until: float) -> float:
        """Do what is due, and say until when to look if not to `until`."""
        if self.faults is None:
            return until
        if self.view.announcement:
            self.faults.see_round(self.view.announcement.round)
        self.faults.act()
        return until if self.faults.next_s is None else min(until, self.faults.next_s)

    def _look(self) -> None:
        """Take what comes for a moment, and show it."""
        until = self._inject_faults(time.monotonic() + _LOOK_S)
        while (left := until - time.monotonic()) > 0:
            match self.link.poll(left):
                case Message(topic, payload):
                    self.view.see(topic, payload)
                case LinkDown(reason):
                    self.table.note(f"lost the broker: {reason}; waiting for it")
                case LinkUp() if self._was_up:
                    self.table.note("the broker is back")
                case LinkUp():
                    self._was_up = True
        for entry in self.view.log.since(self._told):
            self._told = entry.serial
            if entry.kind in _FAULTS:
                self._last_fault = f"{entry.device}: {_FAULTS[entry.kind]}{entry.text}"
                self.table.note(f"round {entry.round}: {self._last_fault}")
        self._tell_opening()
        self.table.refresh()

    def _give_up_if_nothing_opens(self) -> None:
        """A round closes or is opened again at its deadline; afterwards the coordinator waits."""
        opened, faults = self.view.announcement, self.faults
        is_paused = self.view.desired is DesiredState.PAUSE
        if opened is None or is_paused or (faults is not None and faults.next_s is not None):
            self._moved_s = time.monotonic()
            return
        seen = (opened.round, opened.epoch, self.view.open_round is None)
        if seen != self._seen_opening:
            self._seen_opening, self._moved_s = seen, time.monotonic()
        elif time.monotonic() > self._moved_s + opened.deadline_s + _WAITS_S:
            raise OperationError(
                f"no round was opened for {opened.deadline_s + _WAITS_S:g} s after round "
                f"{opened.round}: too few devices are left or let in; see the coordinator's log"
            )

    def _tell_opening(self) -> None:
        opened = self.view.open_round
        if opened is None or (opened.number, opened.openings) == self._told_opening:
            return
        self._told_opening = (opened.number, opened.openings)
        if opened.openings > 1:
            # A coordinator that was killed opens its round again as well.
            why = "too few updates came" if self.faults is None else "for whoever has not delivered"
            self.table.note(f"round {opened.number} is opened again: {why}")

    def _give_up_if_hopeless(self) -> None:
        opened = self.view.open_round
        if opened is None or not self.view.is_hopeless:
            self._hopeless_since_s = None
        elif self._hopeless_since_s is None:
            self._hopeless_since_s = time.monotonic()
        elif time.monotonic() >= self._hopeless_since_s + _HOPELESS_S:
            raise OperationError(f"round {opened.number} cannot be done: {self._last_fault}")
        most = _MAX_OPENINGS + (self.faults.coordinator_kills if self.faults else 0)
        if opened is not None and opened.openings > most:
            raise OperationError(
                f"round {opened.number} was opened {most} times and never had enough "
                f"updates after {opened.deadline_s:g} s; raise --deadline-s"
            )
