"""A device's side of the rounds, as decisions only.

Events go in, actions come out; no clock, no socket, no disk (the style of h11). The agent executes
the actions. Messages from the network may come late, twice, in any order, or be made up: what does
not fit the state is ignored or complained about, and only a defect of our own raises.

The life of a round: the announcement names a model; unless its digest is held already, its chunks
are fetched; the work runs; the trained update goes to disk, is announced, waits for a grant, is
uploaded, and is settled by the coordinator's verdict. Whenever something hints that a message was
lost (a link that came back, the same announcement once more), the update, or the answer that was
given instead of one, is simply said again: saying it is idempotent.

While the device may not train (`ConditionsUnmet`), a round waits before its model is fetched, and
work that has begun is paused between two batches; what is trained already is delivered even so.
"""

from __future__ import annotations

from pfedfrz_protocol import (
    Accepted,
    Control,
    Grant,
    NotAdmitted,
    ProtocolError,
    Purpose,
    Rejected,
    RoundAnnouncement,
    SharedCodec,
    next_state,
)

from .announced_rounds import AnnouncedRounds
from .delivery import Delivery
from .download_store import StoredDownload
from .model_fetch import ModelFetch
from .outbox import PendingUpdate
from .session_exchange import (
    Action,
    AnnouncementSeen,
    CancelUpload,
    CancelWork,
    ChunkSeen,
    CommandSeen,
    Complain,
    ConditionsMet,
    ConditionsUnmet,
    ControlSeen,
    EvaluationDone,
    Event,
    LinkRestored,
    PauseWork,
    Quit,
    ResumeWork,
    StartWork,
    UpdateNotKept,
    UpdateTrained,
    WorkBroken,
    WorkKey,
)
from .session_states import TRANSITIONS, SessionState, Signal

__all__ = ["DeviceSession"]


class DeviceSession:
    """The state machine of one device in one federation."""

    def __init__(
        self,
        device: str,
        boot_id: str,
        bundle_digest: str,
        codec: SharedCodec,
        pending: PendingUpdate | None = None,
        settled: tuple[int, int] | None = None,
        stored: StoredDownload | None = None,
    ) -> None:
        """`pending` and `settled`, an (epoch, round), are what the outbox holds from before, and
        `stored` what has been kept of a model.
        """
        self._device = device
        self._rounds = AnnouncedRounds(bundle_digest, settled)
        self._models = ModelFetch(codec, stored)
        self._delivery = Delivery(boot_id, pending)
        self._state = SessionState.IDLE
        self._task: RoundAnnouncement | None = None
        """What the device is busy with: the newest announcement, or one that is still welcome."""
        self._may_train = True

    @property
    def state(self) -> SessionState:
        """What the device is doing."""
        return self._state

    @property
    def round(self) -> int:
        """The number of the last announced round; 0 before the first."""
        return self._rounds.round

    def handle(self, event: Event) -> list[Action]:
        """The actions that `event` calls for, in the order in which they must be executed."""
        match event:
            case LinkRestored():
                return self._reannounce()
            case AnnouncementSeen():
                return self._on_announcement(event)
            case ChunkSeen(version, number, data):
                return self._on_chunk(version, number, data)
            case CommandSeen(command):
                if isinstance(command, Grant):
                    return self._on_grant(command)
                if isinstance(command, NotAdmitted):
                    return self._on_not_admitted(command)
                return self._on_verdict(command)
            case ControlSeen(control, retained):
                return self._on_control(control, retained)
            case UpdateTrained(key, update):
                return self._on_update(key, update)
            case EvaluationDone() | WorkBroken():
                return self._on_work_over(event)
            case UpdateNotKept(detail):
                return self._on_not_kept(detail)
            case ConditionsMet():
                return self._on_conditions_met()
            case ConditionsUnmet():
                return self._on_conditions_unmet()

    def _move(self, signal: Signal) -> None:
        self._state = next_state(TRANSITIONS, self._state, signal)

    # The coordinator speaks

    def _on_control(self, control: Control, retained: bool) -> list[Action]:
        if not self._rounds.ends_with(control, retained=retained):
            return []
        return [*self._abandon(), Quit()]

    def _on_announcement(self, seen: AnnouncementSeen) -> list[Action]:
        new, task, rounds = seen.announcement, self._task, self._rounds
        if not rounds.is_news(seen):
            return []
        if rounds.is_foreign(new):
            return rounds.refuse(new)
        rounds.follow(seen)
        selected = self._device in new.selected
        if task and selected and _is_same_work(task, new):
            return self._on_same_work(task, new)
        if task and self._is_welcome(task, new):
            return self._reannounce()
        actions = self._abandon()
        if selected and rounds.is_settled(new):
            return [*actions, *self._reannounce()]
        return [*actions, *self._take_up(new)]

    def _is_welcome(self, task: RoundAnnouncement, new: RoundAnnouncement) -> bool:
        """Whether what is under way may be finished although a newer round is open."""
        return (
            self._state not in (SessionState.WAITING, SessionState.FETCHING)
            and task.purpose is new.purpose is Purpose.TRAIN
            and 0 < new.round - task.round <= new.stale_rounds
        )

    def _take_up(self, new: RoundAnnouncement) -> list[Action]:
        """Begin what is announced, if it is for this device."""
        self._delivery.forget_answer()
        self._models.count_anew()
        return self._begin(new) if self._device in new.selected else []

    def _on_same_work(self, old: RoundAnnouncement, new: RoundAnnouncement) -> list[Action]:
        """The round was opened again, or its announcement came again, while it is worked on.

        What is being made, or has been made, is good for it. An announcement that comes again may
        be that of a coordinator which was away when the update was announced. A model that has not
        come by the time a round is opened again is fetched from the beginning: what is missing of
        it may have been lost.
        """
        if self._state is not SessionState.FETCHING:
            self._task = new
            return self._reannounce()
        if (old.epoch, old.model) == (new.epoch, new.model):
            return []
        return [*self._abandon(), *self._begin(new)]

    def _begin(self, announcement: RoundAnnouncement) -> list[Action]:
        self._task = announcement
        if self._delivery.has_update_for(announcement):
            self._move(Signal.RESUME)
            return self._delivery.offer(self._rounds.epoch)
        stale = self._delivery.forget_update()
        if not self._may_train:
            self._move(Signal.WAIT)
            return stale
        return [*stale, *self._begin_work(announcement)]

    def _begin_work(self, announcement: RoundAnnouncement) -> list[Action]:
        model = announcement.model
        if self._models.held(model.digest) is not None:
            return self._work_once_held(announcement)
        try:
            actions = self._models.begin(model, self._rounds.signer)
        except ProtocolError as error:
            self._task = None
            self._move(Signal.SUPERSEDED)
            return [Complain(f"round {announcement.round} cannot be fetched: {error}")]
        self._move(Signal.FETCH)
        return [*actions, *self._work_once_held(announcement)]

    def _on_chunk(self, version: int, number: int, data: bytes) -> list[Action]:
        task = self._task
        if self._state is not SessionState.FETCHING or task is None:
            return []
        actions = self._models.take(version, number, data, self._rounds.signer)
        return [*actions, *self._work_once_held(task)]

    def _work_once_held(self, announcement: RoundAnnouncement) -> list[Action]:
        received = self._models.held(announcement.model.digest)
        if received is None:
            return []
        self._move(Signal.WORK)
        key = WorkKey(announcement.round, announcement.model.digest)
        return [StartWork(key, announcement, received, self._models.downloaded_bytes)]

    # Whether the device may train

    def _on_conditions_met(self) -> list[Action]:
        self._may_train = True
        if self._state is SessionState.PAUSED:
            self._move(Signal.CONTINUE)
            return [ResumeWork()]
        if self._state is SessionState.WAITING and self._task is not None:
            return self._begin_work(self._task)
        return []

    def _on_conditions_unmet(self) -> list[Action]:
        self._may_train = False
        if self._state is SessionState.WORKING:
            self._move(Signal.PAUSE)
            return [PauseWork()]
        if self._state is SessionState.FETCHING:
            self._move(Signal.WAIT)
            return self._models.stop()
        return []

    # The work ends

    def _is_current(self, key: WorkKey, purpose: Purpose | None = None) -> bool:
        announced = self._task
        return (
            self._state in (SessionState.WORKING, SessionState.PAUSED)
            and announced is not None
            and purpose in (None, announced.purpose)
            and key == WorkKey(announced.round, announced.model.digest)
        )

    def _on_update(self, key: WorkKey, update: PendingUpdate) -> list[Action]:
        if not self._is_current(key, Purpose.TRAIN):
            return []
        self._move(Signal.UPDATE_MADE)
        return self._delivery.keep(update, self._rounds.epoch)

    def _on_work_over(self, event: EvaluationDone | WorkBroken) -> list[Action]:
        announcement = self._task
        purpose = Purpose.EVALUATE if isinstance(event, EvaluationDone) else None
        if not self._is_current(event.key, purpose) or announcement is None:
            return []
        self._rounds.settle(announcement.round)
        self._move(Signal.WORK_OVER)
        if isinstance(event, WorkBroken):
            return self._fail(announcement, event.detail)
        self._task = None
        return self._delivery.evaluated(announcement.round, self._rounds.epoch, event.report)

    def _on_not_kept(self, detail: str) -> list[Action]:
        """An update that is not on the disk is not offered: a restart would lose it."""
        announcement = self._task
        if self._state is not SessionState.READY or announcement is None:
            return []
        self._rounds.settle(announcement.round)
        self._move(Signal.SETTLED)
        return self._fail(announcement, detail)

    def _fail(self, announcement: RoundAnnouncement, detail: str) -> list[Action]:
        failed = self._delivery.failed(announcement.round, self._rounds.epoch, detail)
        return [*failed, *self._catch_up(announcement)]

    # The update goes up

    def _reannounce(self) -> list[Action]:
        """Say again what the coordinator may not have heard."""
        if self._state is SessionState.IDLE:
            return self._delivery.answer_again()
        if self._state not in (SessionState.READY, SessionState.UPLOADING):
            return []
        stop = self._stop_uploading()
        self._move(Signal.INTERRUPTED)
        return [*stop, *self._delivery.offer(self._rounds.epoch)]

    def _stop_uploading(self) -> list[Action]:
        return [CancelUpload()] if self._state is SessionState.UPLOADING else []

    def _concerns(self, round_number: int, epoch: int) -> bool:
        return (
            self._state in (SessionState.READY, SessionState.UPLOADING)
            and self._task is not None
            and (self._task.round, self._rounds.epoch) == (round_number, epoch)
        )

    def _on_grant(self, grant: Grant) -> list[Action]:
        if not self._concerns(grant.round, grant.epoch):
            return []
        stop = self._stop_uploading()
        self._move(Signal.GRANTED)
        return [*stop, *self._delivery.granted(grant)]

    def _on_not_admitted(self, word: NotAdmitted) -> list[Action]:
        """Somebody must act where the coordinator runs; until then this device just waits."""
        text = f"the coordinator does not work with this device, {word.reason.value}: {word.detail}"
        return [Complain(text)]

    def _on_verdict(self, verdict: Accepted | Rejected) -> list[Action]:
        task = self._task
        if not self._concerns(verdict.round, verdict.epoch) or task is None:
            return []
        stop = self._stop_uploading()
        self._rounds.settle(task.round)
        self._move(Signal.SETTLED)
        return [*stop, *self._delivery.settled(verdict), *self._catch_up(task)]

    def _catch_up(self, task: RoundAnnouncement) -> list[Action]:
        """A round of before is finished: go on with the one that is open since."""
        newest = self._rounds.newest
        self._task = None
        if newest is None or newest.round == task.round:
            return []
        return self._take_up(newest)

    def _abandon(self) -> list[Action]:
        """Leave whatever is going on."""
        actions: list[Action] = []
        match self._state:
            case SessionState.FETCHING:
                actions = self._models.stop()
            case SessionState.WORKING | SessionState.PAUSED:
                actions = [CancelWork()]
            case SessionState.UPLOADING:
                actions = [CancelUpload()]
            case _:
                pass
        self._task = None
        self._move(Signal.SUPERSEDED)
        return actions


def _is_same_work(old: RoundAnnouncement, new: RoundAnnouncement) -> bool:
    return (old.round, old.purpose, old.model.digest) == (
        new.round,
        new.purpose,
        new.model.digest,
    )
