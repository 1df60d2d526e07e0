"""The work of a round on a thread of its own, so that the link stays alive while a board trains.

A worker runs one piece of work and posts exactly one of the session's work events when it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from pfedfrz_protocol import (
    Encoding,
    EncodingOverflow,
    LocalReport,
    OperationError,
    Parameters,
    PfedfrzError,
    PhaseProgress,
    Purpose,
    RoundAnnouncement,
    SharedCodec,
    SigningKey,
    UpdateLabel,
    seal_tensors,
)

from .data import DataFeed, LocalData
from .error_feedback import ErrorFeedback
from .evaluation import Evaluation
from .label_mix import NOTHING_TOLD, LabelMix
from .local_training import LocalTraining, LocalUpdate, TrainingCancelled
from .model_store import KeptModel, ModelStore
from .outbox import PendingUpdate
from .personal_store import PersonalStore, StoredPersonal
from .session_exchange import EvaluationDone, StartWork, UpdateTrained, WorkBroken

__all__ = ["Look", "NoSamples", "SamplesSeen", "Tamper", "Worker", "WorkerContext"]

log = logging.getLogger(__name__)


class NoSamples(OperationError):
    """There is nothing to train on, yet."""


@dataclass(frozen=True)
class SamplesSeen:
    """How many training samples there are now; posted after every look."""

    samples: int
    label_counts: tuple[int, ...] = ()
    """Of each class, where that is told."""


@dataclass(frozen=True)
class Look:
    """One look whether a device's data have changed."""

    data: DataFeed
    post: Callable[[object], None]
    mix: LabelMix = NOTHING_TOLD

    def run(self) -> LocalData:
        """What there is now; how many that are is posted, whatever happened."""
        seen = SamplesSeen(0)
        try:
            found = self.data.latest()
            seen = SamplesSeen(len(found.train), self.mix.of(found))
            return found
        finally:
            self.post(seen)


class Tamper(Protocol):
    """What the emulator's attackers do to a training round; other devices have none."""

    def prepare(self, announcement: RoundAnnouncement, training: LocalTraining) -> LocalTraining:
        """The training to run in place of `training`: on other data, with other gradients."""

    def upload(
        self,
        announcement: RoundAnnouncement,
        received: Parameters,
        trained: Parameters,
        cancelled: Callable[[], bool],
    ) -> Parameters:
        """What is sent in place of the `trained` shared weights; neither group is changed.

        It may wait, and ends with TrainingCancelled soon after `cancelled` says so.
        """


@dataclass(frozen=True)
class WorkerContext:
    """What every piece of work of one device needs."""

    training: LocalTraining
    codec: SharedCodec
    store: PersonalStore
    encoding: Encoding
    boot_id: str
    key: SigningKey
    """Updates are signed with it."""
    initial_personal: Parameters
    post: Callable[[object], None]
    """Takes the finished event, from the worker's thread."""
    tamper: Tamper | None = None
    feedback: ErrorFeedback | None = None
    """What `delta-int8` has left out so far; other encodings do without."""
    data: DataFeed | None = None
    """Looked at before each piece of work; None where `training` has all there ever is."""
    models: ModelStore | None = None
    """Keeps what was trained, for the device to use."""
    mix: LabelMix = NOTHING_TOLD
    """What is told of the labels."""

    def personal(self) -> Parameters:
        """The device's personal weights: the stored ones, or the bundle's at the very first."""
        stored = self.store.load()
        return stored.weights if stored else self.initial_personal


class Worker:
    """One piece of work under way."""

    def __init__(
        self, context: WorkerContext, work: StartWork, on_end: Callable[[], None] = lambda: None
    ) -> None:
        """`on_end` is called from the thread as the last thing that it does, whatever happened."""
        self._on_end = on_end
        self._context = context
        self._work = work
        self._cancelled = threading.Event()
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._paused_s = 0.0
        self._thread = threading.Thread(target=self._run, name="pfedfrz-work", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def cancel(self) -> None:
        """Call the work off; it ends at its next batch and posts nothing."""
        self._cancelled.set()
        self._may_go_on.set()

    def pause(self) -> None:
        """Hold the work up before its next batch; from the thread that may also call it off."""
        if not self._cancelled.is_set():
            self._may_go_on.clear()

    def resume(self) -> None:
        """Let the work go on."""
        self._may_go_on.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._work_and_tell()
        finally:
            self._on_end()

    def _work_and_tell(self) -> None:
        event: UpdateTrained | EvaluationDone | WorkBroken
        try:
            event = self._do()
        except TrainingCancelled:
            return
        except PfedfrzError as error:
            event = WorkBroken(self._work.key, str(error))
        except Exception as error:
            # A thread that dies silently would leave the session waiting for ever.
            log.exception("the work of round %d broke", self._work.key.round)
            event = WorkBroken(self._work.key, f"{type(error).__name__}: {error}")
        # Nobody waits any more for what was called off at its very end, or broke on its way there.
        if not self._cancelled.is_set():
            self._context.post(event)

    def _do(self) -> UpdateTrained | EvaluationDone:
        context, work = self._context, self._work
        self._look()
        announcement = work.announcement
        number = announcement.round
        stored = context.store.load()
        # Begun before, and ended by a restart or for want of updates: what was received then was
        # measured with personal weights that this round has trained since.
        begun = (
            stored is not None
            and announcement.purpose is Purpose.TRAIN
            and (stored.round, stored.base) == (number, work.key.digest)
        )
        measured = Evaluation(stored.received, stored.received_loss) if stored and begun else None
        received: list[Evaluation] = []

        def keep(phase: int, personal: Parameters) -> None:
            # Checked before every write: a superseded round must not write over a newer one.
            if self._cancelled.is_set():
                raise TrainingCancelled("the round was superseded")
            before = received[0]
            context.store.save(
                StoredPersonal(
                    personal, number, phase, work.key.digest, before.accuracy, before.loss
                )
            )

        training = LocalTraining(
            context.training.runtime,
            context.training.manifest,
            context.training.data,
            context.training.device,
            context.training.seed,
            on_progress=self._progress,
            on_received=received.append,
            on_phase_end=keep,
            cancelled=self._is_cancelled_once_it_may_go_on,
            paused_s=lambda: self._paused_s,
            budget=context.training.budget,
        )
        if context.tamper and announcement.purpose is Purpose.TRAIN:
            training = context.tamper.prepare(announcement, training)
        update = training.run(
            number,
            announcement.purpose,
            work.received,
            stored.weights if stored else context.initial_personal,
            measured=measured,
        )
        report = msgspec.structs.replace(update.report, downloaded_bytes=work.downloaded_bytes)
        if announcement.purpose is Purpose.EVALUATE:
            return EvaluationDone(work.key, report)
        self._keep_model(update)
        return UpdateTrained(work.key, self._encode(update, report))

    def _look(self) -> None:
        """Work on what the device has now; raises NoSamples where that is nothing."""
        context = self._context
        if context.data is not None:
            context.training.data = Look(context.data, context.post, context.mix).run()
        if not len(context.training.data.train):
            raise NoSamples("no samples yet")

    def _is_cancelled_once_it_may_go_on(self) -> bool:
        """Asked before every batch, which is where a pause takes place."""
        if not self._may_go_on.is_set():
            began_s = time.perf_counter()
            self._may_go_on.wait()
            self._paused_s += time.perf_counter() - began_s
        return self._cancelled.is_set()

    def _keep_model(self, update: LocalUpdate) -> None:
        models, key = self._context.models, self._work.key
        if models is None or self._cancelled.is_set():
            return
        try:
            models.save(KeptModel({**update.shared, **update.personal}, key.round, key.digest))
        except OperationError as error:
            # The round is none the worse for it; who uses the model is told which round it is of.
            log.error("the model of round %d is not kept for use: %s", key.round, error)

    def _progress(self, progress: PhaseProgress) -> None:
        if not self._cancelled.is_set():
            self._context.post(progress)

    def _encode(self, update: LocalUpdate, report: LocalReport) -> PendingUpdate:
        context, work = self._context, self._work
        shared = update.shared
        if context.tamper:
            shared = context.tamper.upload(
                work.announcement, work.received, shared, self._cancelled.is_set
            )
        feedback = context.feedback if context.encoding is Encoding.DELTA_INT8 else None
        wanted = feedback.add_to(shared) if feedback else shared
        label = UpdateLabel(
            context.training.device,
            context.boot_id,
            work.key.round,
            report.samples,
            work.key.digest,
        )
        try:
            payload = context.codec.encode(wanted, label, context.encoding, work.received)
        except EncodingOverflow as error:
            log.warning("%s: this update is sent as float32", error)
            payload = context.codec.encode(wanted, label, Encoding.FLOAT32)
        if feedback:
            _, sent = context.codec.decode(payload, work.received)
            feedback.wait(work.key.round, wanted, sent)
        sealed = seal_tensors(payload, context.key)
        return PendingUpdate(work.key.round, work.key.digest, report, sealed)
