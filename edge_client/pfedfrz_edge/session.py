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

from dataclasses import dataclass

from pfedfrz_protocol import (
    Accepted,
    Control,
    DesiredState,
    Evaluated,
    Grant,
    NotAdmitted,
    Parameters,
    ProtocolError,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    SharedCodec,
    UpdateReady,
    chunk_count,
    describe_transfer,
    next_state,
    numbers_in,
    open_tensors,
    tensors_digest,
)

from .download_store import StoredDownload
from .model_download import ModelDownload
from .outbox import PendingUpdate
from .session_exchange import (
    Action,
    Announce,
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
    FetchModel,
    ForgetPending,
    KeepChunk,
    KeepPending,
    LinkRestored,
    PauseWork,
    Quit,
    RememberSettled,
    ResumeWork,
    StartWork,
    StopFetching,
    UpdateAccepted,
    UpdateNotKept,
    UpdateTrained,
    Upload,
    WorkBroken,
    WorkKey,
)
from .session_states import TRANSITIONS, SessionState, Signal

__all__ = ["DeviceSession"]


@dataclass(frozen=True)
class _HeldModel:
    digest: str
    tensors: Parameters


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
        self._boot_id = boot_id
        self._bundle = bundle_digest
        self._codec = codec
        self._pending = pending
        self._state = SessionState.IDLE
        self._announcement: RoundAnnouncement | None = None
        """The newest."""
        self._task: RoundAnnouncement | None = None
        """What the device is busy with: the newest announcement, or one that is still welcome."""
        self._signer = ""
        """Whose signature models have: that of the newest announcement."""
        self._settled: tuple[int, int] = settled or (0, 0)
        """(epoch, round) of the last announcement that needs nothing more from this device."""
        self._answer: Evaluated | RoundFailed | None = None
        """What settled the announced round, where that was not an update."""
        self._held: _HeldModel | None = None
        self._stored = stored
        self._download: ModelDownload | None = None
        self._downloaded_bytes = 0
        self._complained_of = ""
        self._may_train = True
        self._heard = False
        """Whether a coordinator has been heard in this life."""

    @property
    def state(self) -> SessionState:
        """What the device is doing."""
        return self._state

    @property
    def round(self) -> int:
        """The number of the last announced round; 0 before the first."""
        return self._announcement.round if self._announcement else 0

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
        if control.desired is not DesiredState.STOP:
            self._heard = True
            return []
        # What the broker has held since an earlier run is not for a device that waits for the
        # next. Of a run that this device has seen anything of, the end counts however it comes:
        # the device may have been away from the broker when it was said.
        old = self._announcement
        if (retained and not self._heard) or (old and control.epoch < old.epoch):
            return []
        return [*self._abandon(), Quit()]

    def _on_announcement(self, seen: AnnouncementSeen) -> list[Action]:
        self._heard = True
        new, old, task = seen.announcement, self._announcement, self._task
        if old and (new.epoch, new.round) < (old.epoch, old.round):
            return []
        # A broker that was killed may bring back what it held long ago, before the coordinator is
        # there to say its own again. What is said now is followed, whatever was settled in an
        # earlier life: a coordinator whose clock was set back must not be ignored for ever.
        if seen.retained and (new.epoch, new.round) < self._settled:
            return []
        if new.bundle != self._bundle:
            return self._refuse_foreign(new.bundle)
        self._signer = seen.signer
        selected = self._device in new.selected
        if task and selected and _is_same_work(task, new):
            return self._on_same_work(task, new)
        if task and self._is_welcome(task, new):
            self._announcement = new
            return self._reannounce()
        actions = self._abandon()
        self._announcement = new
        if selected and (new.epoch, new.round) == self._settled:
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
        self._answer = None
        self._downloaded_bytes = 0
        return self._begin(new) if self._device in new.selected else []

    def _on_same_work(self, old: RoundAnnouncement, new: RoundAnnouncement) -> list[Action]:
        """The round was opened again, or its announcement came again, while it is worked on.

        What is being made, or has been made, is good for it. An announcement that comes again may
        be that of a coordinator which was away when the update was announced. A model that has not
        come by the time a round is opened again is fetched from the beginning: what is missing of
        it may have been lost.
        """
        if self._state is not SessionState.FETCHING:
            self._announcement = self._task = new
            return self._reannounce()
        if (old.epoch, old.model) == (new.epoch, new.model):
            return []
        actions = self._abandon()
        self._announcement = new
        return [*actions, *self._begin(new)]

    def _refuse_foreign(self, bundle: str) -> list[Action]:
        if self._complained_of == bundle:
            return []
        self._complained_of = bundle
        return [
            Complain(
                f"the coordinator runs another bundle ({bundle[:12]}..., this device has "
                f"{self._bundle[:12]}...): its rounds are ignored until both have the same file"
            )
        ]

    def _begin(self, announcement: RoundAnnouncement) -> list[Action]:
        self._task = announcement
        pending, training = self._pending, announcement.purpose is Purpose.TRAIN
        wanted = (announcement.round, announcement.model.digest)
        if pending and training and (pending.round, pending.base) == wanted:
            self._move(Signal.RESUME)
            return self._announce_pending(pending)
        stale: list[Action] = []
        if pending:
            self._pending = None
            stale = [ForgetPending()]
        if not self._may_train:
            self._move(Signal.WAIT)
            return stale
        return [*stale, *self._begin_work(announcement)]

    def _begin_work(self, announcement: RoundAnnouncement) -> list[Action]:
        if self._held and self._held.digest == announcement.model.digest:
            return self._work(announcement, self._held)
        return self._fetch(announcement)

    def _fetch(self, announcement: RoundAnnouncement) -> list[Action]:
        model, stored = announcement.model, self._stored
        self._stored = None
        if self._download is not None and self._download.transfer == model.transfer:
            self._move(Signal.FETCH)
            self._download.ask_again()
            return [FetchModel(model.version, self._download.ask())]
        try:
            self._download = ModelDownload(model.transfer, self._codec.max_sealed_bytes)
        except ProtocolError as error:
            self._task = None
            self._move(Signal.SUPERSEDED)
            return [Complain(f"round {announcement.round} cannot be fetched: {error}")]
        self._move(Signal.FETCH)
        if stored is not None and stored.transfer == model.transfer:
            payload = self._download.resume(stored.chunks)
            if payload is not None:
                return self._open_model(announcement, payload)
        return [FetchModel(model.version, self._download.ask())]

    def _work(self, announcement: RoundAnnouncement, held: _HeldModel) -> list[Action]:
        self._move(Signal.WORK)
        key = WorkKey(announcement.round, held.digest)
        return [StartWork(key, announcement, held.tensors, self._downloaded_bytes)]

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
            actions = self._stop_fetching()
            self._move(Signal.WAIT)
            return actions
        return []

    # The model arrives

    def _on_chunk(self, version: int, number: int, data: bytes) -> list[Action]:
        announcement, download = self._task, self._download
        if (
            self._state is not SessionState.FETCHING
            or announcement is None
            or download is None
            or version != announcement.model.version
            or number not in download.asked
        ):
            return []
        self._downloaded_bytes += len(data)
        try:
            payload = download.take(number, data)
        except ProtocolError as error:
            complaint = Complain(f"model {version}, chunk {number}: {error}")
            let_go = download.start_over(error)
            if let_go is None:
                return [complaint]
            return [
                complaint, StopFetching(version, let_go), FetchModel(version, download.ask()),
            ]  # fmt: skip
        keep = KeepChunk(download.transfer, number, data)
        if payload is not None:
            return [keep, *self._stop_fetching(number), *self._open_model(announcement, payload)]
        actions: list[Action] = [keep]
        if number not in download.asked:
            actions.append(StopFetching(version, (number,)))
        more = download.ask()
        return [*actions, FetchModel(version, more)] if more else actions

    def _stop_fetching(self, *also: int) -> list[Action]:
        """Let go of everything that is asked for, and of `also`."""
        if self._task is None or self._download is None:
            return []
        chunks = tuple(sorted({*self._download.asked, *also}))
        return [StopFetching(self._task.model.version, chunks)] if chunks else []

    def _open_model(self, announcement: RoundAnnouncement, payload: bytes) -> list[Action]:
        try:
            _, tensors = self._codec.decode(open_tensors(payload).require_signer(self._signer))
            if tensors_digest(tensors) != announcement.model.digest:
                raise ProtocolError(RejectReason.WRONG_DIGEST, "not the announced model")
        except ProtocolError as error:
            return [Complain(f"model {announcement.model.version}: {error}")]
        self._download = None
        self._held = _HeldModel(announcement.model.digest, tensors)
        return self._work(announcement, self._held)

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
        self._pending = update
        self._move(Signal.UPDATE_MADE)
        return [KeepPending(update), *self._announce_pending(update)]

    def _on_work_over(self, event: EvaluationDone | WorkBroken) -> list[Action]:
        announcement = self._task
        purpose = Purpose.EVALUATE if isinstance(event, EvaluationDone) else None
        if not self._is_current(event.key, purpose) or announcement is None:
            return []
        self._settle(announcement.round)
        self._move(Signal.WORK_OVER)
        if isinstance(event, WorkBroken):
            return [*self._fail(announcement, event.detail), *self._catch_up(announcement)]
        self._task = None
        self._answer = Evaluated(announcement.round, self._epoch, self._boot_id, event.report)
        return [Announce(self._answer)]

    def _on_not_kept(self, detail: str) -> list[Action]:
        """An update that is not on the disk is not offered: a restart would lose it."""
        announcement = self._task
        if self._state is not SessionState.READY or announcement is None:
            return []
        self._pending = None
        self._settle(announcement.round)
        self._move(Signal.SETTLED)
        return [*self._fail(announcement, detail), *self._catch_up(announcement)]

    def _fail(self, announcement: RoundAnnouncement, detail: str) -> list[Action]:
        number = announcement.round
        self._answer = RoundFailed(number, self._epoch, self._boot_id, detail)
        return [Complain(f"round {number}: {detail}"), Announce(self._answer)]

    # The update goes up

    def _announce_pending(self, pending: PendingUpdate) -> list[Action]:
        ready = UpdateReady(
            pending.round,
            self._epoch,
            self._boot_id,
            pending.base,
            describe_transfer(pending.payload),
            pending.report,
        )
        return [Announce(ready)]

    def _reannounce(self) -> list[Action]:
        """Say again what the coordinator may not have heard."""
        if self._state is SessionState.IDLE and self._answer:
            return [Announce(self._answer)]
        if self._pending is None or self._state not in (
            SessionState.READY,
            SessionState.UPLOADING,
        ):
            return []
        uploading = self._state is SessionState.UPLOADING
        self._move(Signal.INTERRUPTED)
        stop: list[Action] = [CancelUpload()] if uploading else []
        return [*stop, *self._announce_pending(self._pending)]

    def _concerns(self, round_number: int, epoch: int) -> bool:
        return (
            self._state in (SessionState.READY, SessionState.UPLOADING)
            and self._task is not None
            and (self._task.round, self._epoch) == (round_number, epoch)
        )

    def _on_grant(self, grant: Grant) -> list[Action]:
        if not self._concerns(grant.round, grant.epoch) or self._pending is None:
            return []
        again = self._state is SessionState.UPLOADING
        self._move(Signal.GRANTED)
        payload = self._pending.payload
        chunks = numbers_in(grant.chunks, chunk_count(len(payload)))
        upload = Upload(grant.round, payload, chunks)
        return [CancelUpload(), upload] if again else [upload]

    def _on_not_admitted(self, word: NotAdmitted) -> list[Action]:
        """Somebody must act where the coordinator runs; until then this device just waits."""
        text = f"the coordinator does not work with this device, {word.reason.value}: {word.detail}"
        return [Complain(text)]

    def _on_verdict(self, verdict: Accepted | Rejected) -> list[Action]:
        task = self._task
        if not self._concerns(verdict.round, verdict.epoch) or task is None:
            return []
        uploading = self._state is SessionState.UPLOADING
        self._settle(task.round)
        self._pending = None
        self._move(Signal.SETTLED)
        actions: list[Action] = [CancelUpload()] if uploading else []
        if isinstance(verdict, Rejected):
            actions.append(
                Complain(
                    f"round {verdict.round}: the coordinator rejected the update, "
                    f"{verdict.reason.value}: {verdict.detail}"
                )
            )
        else:
            actions.append(UpdateAccepted(verdict.round))
        settled: list[Action] = [RememberSettled(verdict.round, verdict.epoch), ForgetPending()]
        return [*actions, *settled, *self._catch_up(task)]

    @property
    def _epoch(self) -> int:
        """The epoch in which everything is said."""
        return self._announcement.epoch if self._announcement else 0

    def _settle(self, number: int) -> None:
        self._settled = (self._epoch, number)

    def _catch_up(self, task: RoundAnnouncement) -> list[Action]:
        """A round of before is finished: go on with the one that is open since."""
        newest = self._announcement
        self._task = None
        if newest is None or newest.round == task.round:
            return []
        return self._take_up(newest)

    def _abandon(self) -> list[Action]:
        """Leave whatever is going on."""
        actions: list[Action] = []
        match self._state:
            case SessionState.FETCHING:
                actions = self._stop_fetching()
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
