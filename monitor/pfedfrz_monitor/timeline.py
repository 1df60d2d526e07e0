"""What a journal knows of a run as a stream of messages, at the times at which they were said.

The journal knows when a round was opened and closed and when an update was refused. When a device
reported it does not know: reports are spread over the round by the seconds of work that devices
told, so that the slowest comes shortly before the round's end. What devices did in between, phases
and uploads, is not shown, because nobody wrote it down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pfedfrz_coordinator.circumstances import Circumstances
from pfedfrz_coordinator.journal import DeviceRow, Journal, RejectRow, RoundRow
from pfedfrz_coordinator.registry import RegistryRow, Standing
from pfedfrz_protocol import (
    Accepted,
    Command,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    LocalReport,
    Membership,
    ModelReference,
    Presence,
    Purpose,
    Rejected,
    RoundAnnouncement,
    RoundFailed,
    TransferReference,
    UpdateReady,
)

from .runs.description import RunDescription
from .view import FederationView

__all__ = ["Moment", "Timeline"]

_EPOCH = 1
"""Of all rounds: the journal does not tell them apart."""
_WORK_ENDS = 0.9
"""Of a round's time: when the slowest device's report is shown."""
_ACCEPTED_AFTER = 0.03
"""Of a round's time, behind the report."""
_NOWHERE = TransferReference(0, "0" * 64)
_UNTOLD = "the journal does not say why"

Said = TypeVar("Said")


@dataclass(frozen=True)
class Moment:
    """Something that is shown `at` so many Unix seconds of the coordinator's clock."""

    at: float
    show: Callable[[FederationView], None]


@dataclass(frozen=True)
class Timeline:
    """The moments of one run, read from its journal round by round."""

    journal: Journal
    description: RunDescription | None = None
    circumstances: Circumstances | None = None
    registry: Mapping[str, RegistryRow] | None = None
    is_over: bool = False
    """Whether the federation has ended, and does not only stand still."""

    @property
    def limits(self) -> tuple[float, float]:
        """The first and the last moment; equal where nothing has happened."""
        rows = self.journal.rounds(with_metrics=False)
        if not rows:
            return 0.0, 0.0
        began = rows[0].opened_at
        ends = [row.closed_at for row in rows if row.closed_at is not None]
        refused = [reject.at for reject in self.journal.reject_rows()]
        return began, max(began, rows[-1].opened_at, *ends, *refused)

    def moments(self) -> Iterator[Moment]:
        """All of them in order. A clock that was set back in mid-run does not turn them around."""
        last = self.limits[0]
        for moment in self._unordered():
            last = max(last, moment.at)
            yield Moment(last, moment.show)

    def _unordered(self) -> Iterator[Moment]:
        began, end = self.limits
        bundle = self.journal.fact("bundle") or ""
        status = CoordinatorStatus(Presence.ONLINE, bundle, _EPOCH, "")
        yield Moment(began, _said(FederationView.on_coordinator, status))
        yield Moment(began, _said(FederationView.on_control, Control(DesiredState.RUN, _EPOCH)))
        rejects = defaultdict[int, list[RejectRow]](list)
        for reject in self.journal.reject_rows():
            rejects[reject.round].append(reject)
        known, standings = set[str](), self._memberships(began, end)
        standing = next(standings, None)
        for told in self.journal.rounds(with_metrics=False):
            row = self.journal.round(told.number) or told
            for moment in self._round(row, rejects[row.number], known, bundle):
                while standing is not None and standing.at <= moment.at:
                    yield standing
                    standing = next(standings, None)
                yield moment
        if standing is not None:
            yield standing
            yield from standings
        if self.is_over:
            stop = Control(DesiredState.STOP, _EPOCH)
            yield Moment(end, _said(FederationView.on_control, stop))

    def _round(
        self, row: RoundRow, rejects: list[RejectRow], known: set[str], bundle: str
    ) -> Iterator[Moment]:
        members = self.journal.members(row.number)
        for member in members:
            if member.device not in known:
                known.add(member.device)
                yield Moment(row.opened_at, self._birth(member, bundle))
        announcement = RoundAnnouncement(
            row.number,
            _EPOCH,
            bundle,
            row.purpose,
            ModelReference(row.model_version, "0" * 64, _NOWHERE),
            tuple(member.device for member in members),
            self.circumstances.rounds.deadline_s if self.circumstances else 0.0,
        )
        yield Moment(row.opened_at, _said(FederationView.on_announcement, announcement))
        yield from sorted(self._within(row, members, rejects), key=lambda moment: moment.at)
        if row.closed_at is not None and row.metrics is not None:
            yield Moment(row.closed_at, _said(FederationView.on_metrics, row.metrics))

    def _within(
        self, row: RoundRow, members: list[DeviceRow], rejects: list[RejectRow]
    ) -> Iterator[Moment]:
        """What came between a round's beginning and its end, in any order."""
        end = row.closed_at if row.closed_at is not None else self.limits[1]
        whole_s = max(0.0, end - row.opened_at)
        shares = _shares(members)
        refused: dict[str, float] = {}
        for reject in rejects:
            refused.setdefault(reject.device, reject.at)
        for member in members:
            at = row.opened_at + _WORK_ENDS * shares[member.device] * whole_s
            at = min(at, refused.get(member.device, at))
            yield from _reported(row, member, at)
            if member.status == "accepted":
                later = min(end, at + _ACCEPTED_AFTER * whole_s)
                yield Moment(later, _command(member.device, Accepted(row.number, _EPOCH)))
            elif member.status == "failed":
                failed = RoundFailed(row.number, _EPOCH, "replayed", _UNTOLD)
                yield Moment(at, _event(member.device, failed))
        # Behind the reports, since a report is shown no later than what came of it.
        for reject in rejects:
            said = Rejected(row.number, _EPOCH, reject.reason, reject.detail)
            yield Moment(reject.at, _command(reject.device, said))

    @cached_property
    def _label_counts(self) -> dict[str, tuple[int, ...]]:
        """Training samples of each class, by device, where the run's description tells them."""
        return {
            device.name: tuple(round(share * device.samples) for share in device.label_mix)
            for device in (self.description.devices if self.description else ())
        }

    def _birth(self, member: DeviceRow, bundle: str) -> Callable[[FederationView], None]:
        """A device is seen for the first time when a round first asks for it."""
        samples = member.report.samples if member.report else member.samples
        counts = self._label_counts.get(member.device, ())
        status = DeviceStatus(
            Presence.ONLINE, "replayed", bundle, "", samples, "", label_counts=counts
        )

        def show(view: FederationView) -> None:
            view.on_status(member.device, status)

        return show

    def _memberships(self, began: float, end: float) -> Iterator[Moment]:
        """Who is kept out, from when on. Only the last change of each device is known."""
        rows = sorted((self.registry or {}).values(), key=lambda row: row.since)
        out = [row for row in rows if row.standing is not Standing.ENROLLED and row.since <= end]
        for place in range(len(out)):
            until = out[: place + 1]

            def named(standing: Standing, until: list[RegistryRow] = until) -> tuple[str, ...]:
                return tuple(row.name for row in until if row.standing is standing)

            membership = Membership(
                sum(row.standing is Standing.ENROLLED for row in rows),
                named(Standing.WAITING),
                {row.name: row.reason for row in until if row.standing is Standing.QUARANTINED},
                named(Standing.REVOKED),
                False,
            )
            at = max(began, out[place].since)
            yield Moment(at, _said(FederationView.on_membership, membership))


def _shares(members: list[DeviceRow]) -> dict[str, float]:
    """When each device reported, as a share of the slowest one's time; evenly where nobody told."""
    work = {
        member.device: member.report.train_s + member.report.evaluate_s
        for member in members
        if member.report is not None
    }
    longest = max(work.values(), default=0.0)
    even = {member.device: (n + 1) / len(members) for n, member in enumerate(members)}
    if longest <= 0:
        return even
    return {name: work.get(name, longest) / longest for name in even}


def _reported(row: RoundRow, member: DeviceRow, at: float) -> Iterator[Moment]:
    report: LocalReport | None = member.report
    if report is None:
        return
    if row.purpose is Purpose.EVALUATE:
        evaluated = Evaluated(row.number, _EPOCH, "replayed", report)
        yield Moment(at, _event(member.device, evaluated))
    else:
        ready = UpdateReady(row.number, _EPOCH, "replayed", "0" * 64, _NOWHERE, report)
        yield Moment(at, _event(member.device, ready))


def _said(
    tell: Callable[[FederationView, Said], None], what: Said
) -> Callable[[FederationView], None]:
    return lambda view: tell(view, what)


def _event(device: str, event: DeviceEvent) -> Callable[[FederationView], None]:
    return lambda view: view.on_event(device, event)


def _command(device: str, command: Command) -> Callable[[FederationView], None]:
    return lambda view: view.on_command(device, command)
