"""The rounds of one cell: select, train cohorts, let attackers tamper, aggregate.

The fleet's rounds without messages: the same data, attackers, order of samples, attacks and
aggregation rules. What a coordinator would refuse (an upload that is not finite) is refused here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedfrz_coordinator.aggregation import (
    UpdatesInMemory,
    aggregate,
    find_rule,
    round_seed,
)
from pfedfrz_protocol import (
    EncodingOverflow,
    Group,
    Purpose,
    SharedCodec,
    TensorSpec,
    UpdateLabel,
)

from ..attacks import Attacker, find_attack
from .cell import Cell
from .cohort import CohortResult, CohortTask
from .executor import Executor
from .forms import CLIENTS_STACKED, Form
from .shared_rows import adjoining

__all__ = ["CellOutcome", "RoundMeasurement", "are_finite", "cut_into_cohorts", "run_cell"]


@dataclass(frozen=True, eq=False)
class RoundMeasurement:
    """What a round has made of the devices' models.

    NaN for attackers, for those not selected and for those not tested.
    """

    round: int
    received: NDArray[np.float64]
    """With the model that the round has aggregated and the devices' own weights, before any
    further training, `(devices,)`: what the next round, or the closing one, begins with."""
    local: NDArray[np.float64]
    """After the round's local update, `(devices,)`. Of the last round after the evaluation phases
    instead, where the schedule has any: those methods personalize only there."""
    update_bytes: int
    """What the first device's update takes on the wire."""


@dataclass(frozen=True, eq=False)
class CellOutcome:
    """What came of a cell."""

    measurements: tuple[RoundMeasurement, ...]
    rejected: int
    """Uploads that were not finite."""
    shared: NDArray[np.float32]
    """The last S, `(shared,)`."""
    personal: NDArray[np.float32]
    """The last P_i, `(devices, personal)`."""


def run_cell(
    cell: Cell,
    executor: Executor,
    form: Form,
    *,
    measure_every: int = 1,
    cohorts: int | None = None,
    on_round: Callable[[int], None] = lambda _: None,
) -> CellOutcome:
    """All rounds and the closing measurement.

    Accuracies are measured in every `measure_every`-th round and in the last; `on_round` is called
    after each round and may raise to end it. The devices of a round go to the executor in `cohorts`
    parts or more, by default one for each worker. Raises what the executor and the rule raise.
    """
    experiment = cell.experiment
    rule = find_rule(experiment.aggregation)
    attackers = {
        place: Attacker(find_attack(experiment.attack), cell.names[place], experiment.seed)
        for place in sorted(cell.attackers)
    }
    shared = cell.initial[Group.SHARED].copy()
    personal = np.repeat(cell.initial[Group.PERSONAL][None], len(cell.names), axis=0)
    measurements: list[RoundMeasurement] = []
    awaited: _Measured | None = None
    rejected = 0
    for number in range(1, experiment.rounds + 1):
        measured = number % measure_every == 0 or number == experiment.rounds
        places = select(cell, number)
        asked = _Asked(number, Purpose.TRAIN, places, awaited is not None, measured)
        found = _train(cell, executor, form, asked, cohorts, shared, personal)
        if awaited:
            measurements.append(awaited.complete(_by_device(cell, places, found.received)))
        awaited = None
        if measured:
            sent = _wire_bytes(cell, shared, found.shared[0], number)
            awaited = _Measured(number, _by_device(cell, places, found.local), sent)
        personal[list(places)] = found.personal
        uploads = _uploads(cell, attackers, number, places, shared, found.shared)
        finite = are_finite(uploads)
        rejected += int((~finite).sum())
        if cell.layouts[Group.SHARED].size and finite.any():
            samples = [len(cell.rows[place]) for place in np.asarray(places)[finite]]
            shared = aggregate(
                rule,
                UpdatesInMemory(uploads if finite.all() else uploads[finite]),
                samples,
                reference=shared,
                seed=round_seed(experiment.seed, number),
            )
        del found, uploads  # the next round's weights then take the same memory
        on_round(number)
    assert awaited is not None  # the last round is always measured
    everybody = tuple(range(len(cell.names)))
    closing = _Asked(experiment.rounds + 1, Purpose.EVALUATE, everybody, True, True)
    found = _train(cell, executor, form, closing, cohorts, shared, personal)
    last = awaited.complete(_by_device(cell, everybody, found.received))
    if cell.schedule.evaluation_phases:
        last = replace(last, local=_by_device(cell, everybody, found.local))
    return CellOutcome((*measurements, last), rejected, shared, personal)


@dataclass(frozen=True)
class _Asked:
    """What the devices of a round are asked to do."""

    number: int
    purpose: Purpose
    places: tuple[int, ...]
    measure_received: bool
    measure_local: bool


@dataclass(frozen=True, eq=False)
class _Measured:
    """A measurement that still lacks what the next round begins with."""

    round: int
    local: NDArray[np.float64]
    update_bytes: int

    def complete(self, received: NDArray[np.float64]) -> RoundMeasurement:
        return RoundMeasurement(self.round, received, self.local, self.update_bytes)


def select(cell: Cell, round_number: int) -> tuple[int, ...]:
    """The places of a round's devices, ascending: all of them, or a draw fixed by the seed."""
    experiment = cell.experiment
    devices, wanted = len(cell.names), experiment.participants
    if not wanted or wanted >= devices:
        return tuple(range(devices))
    key = f"{experiment.seed}/{round_number}/study".encode()
    entropy = int.from_bytes(hashlib.sha256(key).digest(), "big")
    drawn = np.random.default_rng(entropy).choice(devices, wanted, replace=False)
    return tuple(sorted(int(place) for place in drawn))


def _train(
    cell: Cell,
    executor: Executor,
    form: Form,
    asked: _Asked,
    cohorts: int | None,
    shared: NDArray[np.float32],
    personal: NDArray[np.float32],
) -> CohortResult:
    """What all cohorts of a round have trained, in the order of places."""
    tasks = [
        CohortTask(
            cell.experiment,
            form,
            asked.number,
            asked.purpose,
            places,
            shared,
            personal[list(places)],
            asked.measure_received,
            asked.measure_local,
        )
        for places in cut_into_cohorts(asked.places, cohorts or executor.workers)
    ]
    return _joined(executor.train(tasks))


def _joined(results: list[CohortResult]) -> CohortResult:
    """All cohorts' rows as one; `results` is emptied, so that there are never two of them all."""
    clients = sum(len(result.losses) for result in results)
    whole: dict[str, NDArray[Any]] = {}
    for part in fields(CohortResult):
        if (rows := adjoining([getattr(result, part.name) for result in results])) is not None:
            whole[part.name] = rows
    copied = [part.name for part in fields(CohortResult) if part.name not in whole]
    start = 0
    while results:
        result = results.pop(0)
        end = start + len(result.losses)
        for name in copied:
            rows = getattr(result, name)
            if name not in whole:
                whole[name] = np.empty((clients, *rows.shape[1:]), rows.dtype)
            whole[name][start:end] = rows
        start = end
    return CohortResult(**whole)


def cut_into_cohorts(places: Sequence[int], least: int) -> list[tuple[int, ...]]:
    """The places in `least` parts of one size, or a multiple of it: none is more than a stack.

    A multiple, as `least` workers that share one part more would wait for the one that has it.
    """
    count = least * -(-len(places) // (least * CLIENTS_STACKED))
    parts = np.array_split(np.asarray(places), min(count, len(places)))
    return [tuple(int(place) for place in part) for part in parts]


def _uploads(
    cell: Cell,
    attackers: dict[int, Attacker],
    number: int,
    places: Sequence[int],
    received: NDArray[np.float32],
    trained: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What arrives, `(clients, shared)`: S_i, or what an attacker makes of it."""
    present = [(row, place) for row, place in enumerate(places) if place in attackers]
    layout = cell.layouts[Group.SHARED]
    if not present or not layout.size:
        return trained
    base = layout.named(received)
    benign = [row for row, place in enumerate(places) if place not in attackers]
    colludes = any(attackers[place].attack.colludes for _, place in present)
    known = [layout.named(trained[row]) for row in benign] if colludes else []
    uploads = trained.copy()
    for row, place in present:
        tampered = attackers[place].tamper(
            number,
            base,
            layout.named(trained[row]),
            known=known,
            participants=len(places),
            attackers=len(present),
        )
        uploads[row] = np.concatenate([tampered[name].reshape(-1) for name in layout.names])
    return uploads


def _wire_bytes(
    cell: Cell, received: NDArray[np.float32], trained: NDArray[np.float32], number: int
) -> int:
    """The length of an update as a device encodes it."""
    layout = cell.layouts[Group.SHARED]
    if not layout.size or not np.isfinite(trained).all():
        return 0
    specs = tuple(map(TensorSpec, layout.names, layout.shapes))
    label = UpdateLabel("device", "study", number, 1, "0" * 64)
    base, new = layout.named(received), layout.named(trained)
    try:
        return len(SharedCodec(specs).encode(new, label, cell.experiment.encoding, base))
    except EncodingOverflow:
        return len(SharedCodec(specs).encode(new, label))


def are_finite(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows `(rows, columns)` hold nothing but finite numbers, `(rows,)`."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(rows.sum(axis=1))
    # A sum is quicker than a look at each number, and only an overflow can make it wrong.
    for row in np.flatnonzero(~finite):
        finite[row] = np.isfinite(rows[row]).all()
    return np.asarray(finite)


def _by_device(
    cell: Cell, places: Sequence[int], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`values` of the places, `(devices,)`; NaN for all others and for attackers."""
    found = np.full(len(cell.names), np.nan)
    found[list(places)] = values
    found[sorted(cell.attackers)] = np.nan
    return found
