"""What a person can see of a federation, from its topics alone.

A pure picture: messages go in, `FederationView` is what is known. Whoever watches decides how to
draw it. Messages that are not what they should be are counted, not believed, and whatever comes,
the view stays within its bounds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pfedfrz_protocol import (
    Accepted,
    BundleInstalled,
    BundleRefused,
    Command,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    Grant,
    LocalReport,
    Membership,
    NotAdmitted,
    PhaseProgress,
    Presence,
    ProtocolError,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundHistory,
    RoundMetrics,
    Topics,
    UpdateReady,
    brief_round,
)

from .authenticity import Authenticity
from .device_view import DeviceView, Stage, Standing
from .hearing import filters_of, tell
from .kept_rounds import KeptRounds
from .log_book import Kind, LogBook
from .pull import LOOKED_AT, keeps_pulling_against
from .round_view import Outcome, RoundView

__all__ = ["FederationView"]

NO_FAULT = (RejectReason.LATE, RejectReason.DUPLICATE, RejectReason.NOT_SELECTED)
"""Refusals that happen to healthy devices, when messages cross."""
_STANDINGS = {
    RejectReason.NOT_ENROLLED: Standing.WAITING,
    RejectReason.QUARANTINED: Standing.QUARANTINED,
    RejectReason.REVOKED: Standing.REVOKED,
}
_NOTES_AT_ONCE = 20.0
_NOTES_PER_S = 1 / 30
"""Lines of the log that one device may bring about by itself."""


@dataclass
class FederationView:
    """One federation as its messages show it."""

    topics: Topics
    coordinator_key: str | None = None
    """Pinned; without it the first coordinator that is heard is believed."""
    max_devices: int = 20_000
    max_rounds: int = 1000
    max_cells: int = 60_000
    """Devices times rounds that are kept one by one; the oldest rounds lose theirs first."""
    clock: Callable[[], float] = time.time
    announcement: RoundAnnouncement | None = None
    """Of the round that was opened last."""
    coordinator: CoordinatorStatus | None = None
    desired: DesiredState | None = None
    """Whether the federation is to run, pause or end; None until the coordinator has said it."""
    membership: Membership | None = None
    devices: dict[str, DeviceView] = field(default_factory=dict)
    log: LogBook = field(default_factory=LogBook)
    ignored: Counter[RejectReason] = field(default_factory=Counter)
    """Messages that were not believed, by reason."""
    revision: int = 0
    """Grows with every change; devices and rounds keep the one of their last change."""

    def __post_init__(self) -> None:
        self.signatures = Authenticity(self.topics, self.coordinator_key, self.max_devices)
        self._rounds = KeptRounds(self.max_rounds, self.max_cells, self._touch)
        self._desired_epoch = 0
        self._has_no_past = False
        """Whether the coordinator says that it has closed no round yet."""

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return filters_of(self.topics)

    @property
    def rounds(self) -> dict[int, RoundView]:
        """The rounds that are kept, by number and in the order of numbers."""
        return self._rounds.by_number

    @property
    def open_round(self) -> RoundView | None:
        """The round that is open now."""
        newest = self.announcement
        view = None if newest is None else self.rounds.get(newest.round)
        return None if view is None or view.is_closed or self.is_over else view

    @property
    def is_over(self) -> bool:
        """Whether the coordinator has said that the rounds are over."""
        return self.desired is DesiredState.STOP

    @property
    def is_hopeless(self) -> bool:
        """True while every device that the open round asked for an update has failed to give it.

        A device that failed would fail again: its seed, its data and the model are the same.
        """
        here = self.open_round
        if here is None or here.purpose is Purpose.EVALUATE:
            return False
        cells = (here.cells.get(name) for name in here.selected)
        lost = (Outcome.FAILED, Outcome.REJECTED)
        return bool(here.selected) and all(cell and cell.outcome in lost for cell in cells)

    def report(self, device: str, number: int) -> LocalReport | None:
        """What a device reported in a round."""
        there = self.rounds.get(number)
        cell = there.cells.get(device) if there else None
        return cell.report if cell else None

    def see(self, topic: str, payload: bytes) -> None:
        """Take one message as it came."""
        if not payload:
            return  # clears what a broker retained
        try:
            tell(self, topic, payload)
        except ProtocolError as error:
            self.ignored[error.reason] += 1

    # What the coordinator says

    def on_coordinator(self, status: CoordinatorStatus) -> None:
        """It is there, or not."""
        before = self.coordinator
        self.coordinator = status
        self.revision += 1
        if before is None or before.presence is not status.presence:
            self._note(Kind.CONTROL, f"coordinator {status.presence.value}")

    def on_control(self, control: Control) -> None:
        """What the federation is to do; nothing that was said in an earlier life counts."""
        if control.epoch < self._desired_epoch:
            self.ignored[RejectReason.LATE] += 1
            return
        self._desired_epoch = control.epoch
        if control.desired is not self.desired:
            said = {"run": "running", "pause": "paused", "stop": "the rounds are over"}
            self._note(Kind.CONTROL, said[control.desired.value])
        self.desired = control.desired
        self.revision += 1

    def on_membership(self, membership: Membership) -> None:
        """Who is let in and who is not."""
        self.membership = membership
        self.revision += 1
        kept_out = dict.fromkeys(membership.waiting, Standing.WAITING)
        kept_out.update(dict.fromkeys(membership.quarantined, Standing.QUARANTINED))
        kept_out.update(dict.fromkeys(membership.revoked, Standing.REVOKED))
        for name in kept_out.keys() - self.devices.keys():
            self._device(name)
        for name, device in self.devices.items():
            standing = kept_out.get(name, Standing.ENROLLED)
            if device.standing is standing:
                continue
            device.standing = standing
            device.refusal = membership.quarantined.get(name, "")
            self._changed(name, heard=False)
            if standing is not Standing.ENROLLED:
                why = f": {device.refusal}" if device.refusal else ""
                self._note(Kind.KEPT_OUT, f"{standing.value}{why}", name)

    def on_announcement(self, opened: RoundAnnouncement) -> None:
        """A round is open; nothing that was said before the newest announcement counts."""
        if self._has_no_past and opened.round > 1:
            return  # retained from a life that the coordinator has lost
        before = self.announcement
        if before is not None and (opened.epoch, opened.round) < (before.epoch, before.round):
            self.ignored[RejectReason.LATE] += 1
            return
        self.announcement = opened
        # A coordinator whose state was lost begins anew: what was before is of another life.
        self._rounds.drop([number for number in self.rounds if number > opened.round])
        here = self._rounds.at(opened.round)
        here.purpose, here.deadline_s = opened.purpose, opened.deadline_s
        if before is not None and (before.round, before.epoch) == (opened.round, opened.epoch):
            return  # retained state, published again after a reconnect
        if here.is_closed and opened.epoch > here.epoch > 0:
            self._rounds.drop([opened.round])
            here = self._rounds.at(opened.round)
            here.purpose, here.deadline_s = opened.purpose, opened.deadline_s
        self._rounds.select(here, opened.selected)
        if here.is_closed and here.epoch == 0:
            here.epoch = opened.epoch
            return  # its numbers came first: it is over, and was opened before we looked
        here.epoch = opened.epoch
        here.openings += 1
        if here.opened_at is None:
            here.opened_at = self.clock()
        for name in opened.selected:
            cell = here.cells.get(name)
            if cell is not None and cell.outcome in (Outcome.FAILED, Outcome.REJECTED):
                cell.outcome, cell.detail = None, ""
            device = self.devices.get(name)
            if device is not None:
                device.stage, device.stage_round = Stage.SELECTED, opened.round
                device.progress, device.doing = 0.0, ""
                self._changed(name, heard=False)
        again = f" again, opening {here.openings}," if here.openings > 1 else ""
        text = f"round {opened.round} opened{again} for {len(opened.selected)} devices"
        self._note(Kind.ROUND, text, number=opened.round)

    def on_metrics(self, metrics: RoundMetrics) -> None:
        """A round is closed."""
        if self._has_no_past and metrics.round > 1:
            return
        here = self._rounds.at(metrics.round)
        if here.metrics == metrics or metrics.round not in self.rounds:
            return  # said once more, or older than all that is kept
        is_news = here.opened_at is not None and not here.is_closed
        closed_at = self.clock()
        here.purpose, here.metrics = metrics.purpose, metrics
        here.brief = brief_round(metrics, here.brief.closed_at if here.brief else closed_at)
        if is_news:
            here.closed_at = closed_at
        for name in metrics.update_norms:
            cell = self._rounds.cell(here, name)
            if cell is not None:
                cell.norm = metrics.update_norms[name]
                cell.cosine = metrics.update_cosines.get(name)
                cell.outcome = Outcome.ACCEPTED
        for name, cosine in metrics.update_cosines.items():
            self._on_cosine(name, cosine, metrics.round)
        self._rounds.trim()
        self._note(Kind.ROUND, f"round {metrics.round} closed", number=metrics.round)

    def on_history(self, history: RoundHistory) -> None:
        """The last closed rounds, in short."""
        told = {brief.round for brief in history.rounds}
        self._has_no_past = not told
        if not told:
            # No round was ever closed: only the first one can be open.
            before = [n for n, r in self.rounds.items() if n > 1 or r.is_closed]
            self._rounds.drop(before)
            if before:
                self._note(Kind.CONTROL, "the coordinator begins anew: its state was lost")
            if self.announcement is not None and self.announcement.round > 1:
                self.announcement = None
                self.revision += 1
        else:
            # Closed rounds that the coordinator knows nothing of are of another life.
            first = min(told)
            later = [n for n, r in self.rounds.items() if r.is_closed and n > first]
            self._rounds.drop(number for number in later if number not in told)
        for brief in history.rounds:
            here = self._rounds.at(brief.round)
            if here.brief != brief:
                here.brief, here.purpose = brief, brief.purpose
                self._touch(here)
        self._rounds.trim()

    def on_command(self, name: str, command: Command) -> None:
        """What the coordinator tells a device."""
        device = self._device(name)
        if device is None:
            return
        match command:
            case Grant():
                device.stage, device.doing = Stage.UPLOADING, "uploading"
            case Accepted():
                device.stage, device.doing = Stage.ACCEPTED, "update accepted"
                if self._settle(name, command, Outcome.ACCEPTED):
                    device.updates_accepted += 1
            case Rejected() if command.reason not in NO_FAULT:
                device.stage = Stage.REJECTED
                device.doing = f"rejected: {command.reason.value}"
                text = f"{command.reason.value}: {command.detail}"
                if self._settle(name, command, Outcome.REJECTED, text):
                    device.updates_rejected += 1
                    self._note(Kind.REJECTED, text, name, command.round)
            case NotAdmitted():
                standing = _STANDINGS.get(command.reason, Standing.REFUSED)
                if (device.standing, device.refusal) != (standing, command.detail):
                    self._note(Kind.KEPT_OUT, f"{command.reason.value}: {command.detail}", name)
                device.standing, device.refusal = standing, command.detail
        self._changed(name, heard=False)

    # What devices say

    def on_heartbeat(self, name: str) -> None:
        """It is there."""
        self._changed(name)

    def on_status(self, name: str, status: DeviceStatus) -> None:
        """A device is there, waits, or is gone."""
        is_new = name not in self.devices
        device = self._device(name)
        if device is None:
            return
        if device.presence is not status.presence and not (
            is_new and status.presence is Presence.OFFLINE
        ):
            why = f": {status.waiting_for}" if status.waiting_for else ""
            self._note_of(name, Kind.DEVICE, f"{status.presence.value}{why}")
        device.presence, device.waiting_for = status.presence, status.waiting_for
        device.bundle, device.runtime = status.bundle, status.runtime
        if status.presence is not Presence.OFFLINE:
            device.samples, device.label_counts = status.samples, status.label_counts
        self._changed(name, heard=not is_new or status.presence is not Presence.OFFLINE)

    def on_event(self, name: str, event: DeviceEvent) -> None:
        """What a device does."""
        device = self._device(name)
        if device is None:
            return
        match event:
            case PhaseProgress():
                phase = f"phase {event.phase + 1}/{event.phases} {event.trainable.value}"
                device.stage, device.stage_round = Stage.TRAINING, event.round
                device.doing = f"{phase}, epoch {event.epoch + 1}/{event.epochs}"
                epochs = max(1, event.epochs)
                done = event.phase + (event.epoch + 1) / epochs
                device.progress = min(1.0, done / max(1, event.phases))
            case UpdateReady():
                device.stage, device.doing = Stage.READY, "update ready"
                device.stage_round, device.progress = event.round, 1.0
                self._on_report(name, device, event.round, event.report, Outcome.REPORTED)
            case Evaluated():
                device.stage, device.doing = Stage.EVALUATED, "evaluated"
                device.stage_round, device.progress = event.round, 1.0
                self._on_report(name, device, event.round, event.report, Outcome.MEASURED)
            case RoundFailed():
                device.stage, device.doing = Stage.FAILED, "failed"
                device.stage_round = event.round
                if self._settle(name, event, Outcome.FAILED, event.detail):
                    device.failures += 1
                    self._note_of(name, Kind.FAILED, event.detail, event.round)
            case BundleInstalled():
                device.doing = "has another bundle"
            case BundleRefused():
                device.doing = f"refused a bundle: {event.detail}"
        self._changed(name)

    def _on_report(
        self, name: str, device: DeviceView, number: int, report: LocalReport, outcome: Outcome
    ) -> None:
        here = self.rounds.get(number)
        cell = None if here is None else self._rounds.cell(here, name)
        if here is None or cell is None or cell.report == report:
            return  # of a round that nobody has opened, or said once more
        cell.report = report
        if cell.outcome is not Outcome.ACCEPTED:
            cell.outcome = outcome
        self._touch(here)
        if number >= device.latest_round:
            device.latest, device.latest_round = report, number
            if report.local is not None:
                device.last_local = report.local
        device.train_s += report.train_s
        device.evaluate_s += report.evaluate_s
        device.downloaded_bytes += report.downloaded_bytes

    def _on_cosine(self, name: str, cosine: float, number: int) -> None:
        device = self.devices.get(name)
        if device is None:
            return
        device.cosines = (*device.cosines, cosine)[-LOOKED_AT:]
        opposes = keeps_pulling_against(device.cosines, already=device.opposes)
        if opposes and not device.opposes:
            mean = sum(device.cosines) / len(device.cosines)
            text = f"keeps pulling against the others ({mean:+.2f})"
            self._note(Kind.OPPOSES, text, name, number)
        device.opposes = opposes
        self._changed(name, heard=False)

    # Inside

    def _settle(
        self,
        name: str,
        said: Accepted | Rejected | RoundFailed,
        outcome: Outcome,
        detail: str = "",
    ) -> bool:
        """Write down what came of a device's part; False where that is no news, or too old."""
        here = self.rounds.get(said.round)
        if here is not None and said.epoch < here.epoch and outcome is not Outcome.ACCEPTED:
            return False  # the round has been opened again since
        cell = None if here is None else self._rounds.cell(here, name)
        if here is None or cell is None or (cell.outcome, cell.detail) == (outcome, detail):
            return False
        cell.outcome, cell.detail = outcome, detail
        self._touch(here)
        return True

    def _device(self, name: str) -> DeviceView | None:
        """The device; None for one too many."""
        device = self.devices.get(name)
        if device is None and len(self.devices) < self.max_devices:
            device = self.devices[name] = DeviceView()
        return device

    def _changed(self, name: str, *, heard: bool = True) -> None:
        device = self.devices.get(name)
        if device is not None:
            self.revision += 1
            device.revision = self.revision
            if heard:
                device.heard_at = self.clock()

    def _touch(self, here: RoundView | None) -> None:
        self.revision += 1
        if here is not None:
            here.revision = self.revision

    def _note_of(self, name: str, kind: Kind, text: str, number: int = 0) -> None:
        """Write down what a device itself brings about, within its share: it could say it for ever,
        until nothing else is left in the log.
        """
        device, now = self.devices[name], self.clock()
        passed = max(0.0, now - device.noted_at)
        device.notes_left = min(_NOTES_AT_ONCE, device.notes_left + passed * _NOTES_PER_S)
        device.noted_at = now
        if device.notes_left < 1.0:
            return
        device.notes_left -= 1.0
        if device.notes_left < 1.0:
            text = f"{text} ({name} says more than is written down)"
        self._note(kind, text, name, number)

    def _note(self, kind: Kind, text: str, device: str = "", number: int = 0) -> None:
        self.revision += 1
        self.log.add(self.clock(), kind, text, device, number)
