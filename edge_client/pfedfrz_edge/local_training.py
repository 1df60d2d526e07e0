"""One local update: a schedule run on the device's own data.

This is where pFedFrz happens, and it knows no method by name: each phase says what is trainable,
and everything else is frozen by making its arrays read-only, so that a mistake is an error and
never a moved weight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    LocalReport,
    Manifest,
    OperationError,
    Parameters,
    Phase,
    PhaseProgress,
    Purpose,
    TrainableSet,
    copied_name,
)

from .batches import epoch_batches, epoch_order
from .data import LocalData
from .evaluation import Evaluation, evaluate
from .feature_cache import CachedFeatures, FeatureBudget, cached_features
from .optimizer import Sgd
from .runtimes import Runtime

__all__ = ["LocalTraining", "LocalUpdate", "TrainingCancelled", "TrainingDiverged", "seen_by"]


class TrainingCancelled(OperationError):
    """The work was called off; nothing of it is kept."""


class TrainingDiverged(OperationError):
    """Training produced a weight that is not finite; the weights from before are kept."""


@dataclass(frozen=True)
class LocalUpdate:
    """What a device has after a round's work: new arrays, never views of what it was given."""

    personal: Parameters
    shared: Parameters
    report: LocalReport


def _nothing(_: PhaseProgress) -> None:
    return


@dataclass
class LocalTraining:
    """Runs rounds for one device."""

    runtime: Runtime
    manifest: Manifest
    data: LocalData
    device: str
    seed: int
    on_progress: Callable[[PhaseProgress], None] = _nothing
    on_received: Callable[[Evaluation], None] = lambda _: None
    """Called with what was measured before any training."""
    on_phase_end: Callable[[int, Parameters], None] = lambda _phase, _personal: None
    """Called after every phase of a training round that moved the personal weights."""
    cancelled: Callable[[], bool] = field(default=lambda: False)
    """Asked before every batch; it may wait, and then says so in `paused_s`."""
    paused_s: Callable[[], float] = field(default=lambda: 0.0)
    """The seconds that `cancelled` has waited so far, which are no work."""
    budget: FeatureBudget = field(default_factory=FeatureBudget)
    """Room for what a frozen prefix says about the samples, in phases of several epochs."""

    def run(
        self,
        round_number: int,
        purpose: Purpose,
        received: Parameters,
        personal: Parameters,
        *,
        measured: Evaluation | None = None,
    ) -> LocalUpdate:
        """Evaluate, train by the schedule, evaluate again.

        `received` are the round's shared weights, `personal` the device's own, float32 by name;
        neither is changed. An evaluation round trains only the schedule's evaluation phases.
        `measured` is what was measured before any training where the round was begun once already:
        then `personal` has been trained in it, and is no longer what that is of.
        Raises TrainingDiverged, TrainingCancelled.
        """
        schedule = self.manifest.schedule
        training = purpose is Purpose.TRAIN
        phases = schedule.phases if training else schedule.evaluation_phases
        weights = {name: a.copy() for group in (received, personal) for name, a in group.items()}
        clock = _Stopwatch(lambda: time.perf_counter() - self.paused_s())
        with clock.evaluating:
            before = self._evaluate(weights) if measured is None else measured
        self.on_received(before)
        loss: float | None = None
        with clock.training:
            for index, phase in enumerate(phases):
                loss = self._run_phase(round_number, index, phases, weights, received, training)
                if training and (phase.of_copy or phase.trainable is not TrainableSet.SHARED):
                    self.on_phase_end(index, {name: weights[name] for name in personal})
        after = Evaluation()
        if phases:
            with clock.evaluating:
                after = self._evaluate(weights)
        report = LocalReport(
            samples=len(self.data.train),
            received=before.accuracy,
            local=after.accuracy,
            loss=loss,
            train_s=clock.training.seconds,
            evaluate_s=clock.evaluating.seconds,
            received_loss=before.loss,
            local_loss=after.loss,
        )
        return LocalUpdate(
            {name: weights[name] for name in personal},
            {name: weights[name] for name in received},
            report,
        )

    def _run_phase(
        self,
        round_number: int,
        index: int,
        phases: Sequence[Phase],
        weights: Parameters,
        received: Parameters,
        training: bool,
    ) -> float:
        phase = phases[index]
        every, weights = weights, seen_by(phase.of_copy, weights)
        self._freeze_all_but(phase.trainable, weights, every)
        optimizer = Sgd(phase, received)
        name = f"{index}" if training else f"evaluation-{index}"
        loss = 0.0
        with self._features(phase, weights) as features:
            for epoch in range(phase.epochs):
                order = epoch_order(
                    self.seed, self.device, round_number, name, epoch, len(self.data.train)
                )
                loss = self._run_epoch(phase, weights, optimizer, order, features)
                self.on_progress(
                    PhaseProgress(
                        round_number, index, len(phases), phase.trainable, epoch, phase.epochs, loss
                    )
                )
        for trained in weights.values():
            if not np.isfinite(trained).all():
                raise TrainingDiverged(
                    f"phase {index + 1} of round {round_number} diverged; "
                    "lower the learning rate or set clip_norm"
                )
        return loss

    def _run_epoch(
        self,
        phase: Phase,
        weights: Parameters,
        optimizer: Sgd,
        order: NDArray[np.int64],
        features: CachedFeatures | None,
    ) -> float:
        """The mean loss over the samples of one epoch."""
        train, total = self.data.train, 0.0
        for rows in epoch_batches(order, phase.batch_size):
            self._check_cancelled()
            batch = (train.x[rows], train.y[rows], np.ones(len(rows), np.float32))
            if features is None:
                step = self.runtime.gradients(phase.trainable, weights, *batch)
            else:
                step = features.runtime.gradients_from_features(
                    phase.trainable, weights, features.of(rows), *batch
                )
            optimizer.step(weights, step.gradients)
            total += step.loss * len(rows)
        return total / len(order)

    def _features(
        self, phase: Phase, weights: Parameters
    ) -> AbstractContextManager[CachedFeatures | None]:
        """The frozen prefix's output for the whole phase, where keeping it saves work."""
        if phase.epochs < 2:
            return nullcontext()
        return cached_features(
            self.runtime,
            phase.trainable,
            weights,
            self.data.train.x,
            self.budget,
            self._check_cancelled,
        )

    def _freeze_all_but(
        self, trainable: TrainableSet, weights: Parameters, every: Parameters
    ) -> None:
        """Make `every` array read-only but those of a trainable set among `weights`."""
        for array in every.values():
            array.flags.writeable = False
        for group in trainable.groups:
            for spec in self.manifest.layout(group):
                weights[spec.name].flags.writeable = True

    def _evaluate(self, weights: Parameters) -> Evaluation:
        return evaluate(
            self.runtime,
            seen_by(self.manifest.schedule.keeps_copy, weights),
            self.data,
            self.manifest.loss,
            before_batch=self._check_cancelled,
        )

    def _check_cancelled(self) -> None:
        if self.cancelled():
            raise TrainingCancelled("the round was superseded")


def seen_by(copy: bool, weights: Parameters) -> Parameters:
    """The same arrays under the model's names: the device's copy of the shared ones, or not."""
    if copy:
        return {name: a for own, a in weights.items() if (name := copied_name(own)) is not None}
    return {name: a for name, a in weights.items() if copied_name(name) is None}


class _Span:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._clock() - self._start


class _Stopwatch:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.training = _Span(clock)
        self.evaluating = _Span(clock)
