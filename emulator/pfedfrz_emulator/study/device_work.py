"""What a round costs a device: passes over its data, each weighed by its measured step time.

One unit of work is one epoch in which everything is trained. A phase that trains the set t costs
epochs * (step time of t) / (step time of all); FedAvg and Local train everything. Times are those
of the device's own step, onnxruntime and its optimizer on one thread, as CPU time.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from pfedfrz_edge.optimizer import Sgd
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_export import export_bundle
from pfedfrz_protocol import (
    Group,
    InputSpec,
    Phase,
    Schedule,
    TrainableSet,
    decode_json,
    find_method,
)
from pfedfrz_storage import write_atomically

from ..experiment import Experiment
from .cell import Cell, open_cell
from .cohort import StudyFolders
from .specification import Study

__all__ = ["DeviceWork", "StepTimes", "measure_work", "passes_per_round"]

_WARM_UP = 3
_REPEATS = 40
_BUDGET_S = 20.0
"""A large network is not measured longer than this."""


class StepTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CPU seconds of one training step, medians, by what is trained."""

    personal: float
    shared: float
    all: float

    def relative(self, trainable: TrainableSet) -> float:
        """The step's time as a multiple of the step that trains everything."""
        return float(getattr(self, trainable.value)) / self.all


class DeviceWork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """work.json: the step times of every model and partition of a study."""

    machine: str
    steps: dict[str, StepTimes] = {}

    def per_round(self, experiment: Experiment) -> float:
        """Work of a device in one round, in epochs of training everything."""
        method = find_method(experiment.method)
        epochs = experiment.training.epochs
        if method.uniform is not None:
            return float(passes_per_round(experiment))
        times = self.steps[_key(experiment)]
        return epochs * sum(times.relative(trainable) for trainable in method.phases)


def passes_per_round(experiment: Experiment) -> int:
    """How often a device goes over its data in one round."""
    training = experiment.training
    return training.epochs * len(find_method(experiment.method).schedule(training).phases)


def measure_work(study: Study, folders: StudyFolders, path: Path) -> DeviceWork:
    """The step times that the study needs: those in the file `path`, the missing ones measured.

    The file is written anew when something was missing.
    """
    known = _read(path)
    steps = dict(known.steps) if known else {}
    missing = {_key(e): e for e in _with_partitions(study) if _key(e) not in steps}
    if known and not missing:
        return known
    for key, experiment in missing.items():
        steps[key] = _measure(open_cell(experiment, folders.inputs, folders.datasets))
    work = DeviceWork(f"{platform.machine()}, {platform.system()}, one thread", steps)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(work), indent=1) + b"\n")
    return work


def _with_partitions(study: Study) -> Iterable[Experiment]:
    for request in study.cells:
        if find_method(request.experiment.method).uniform is None:
            yield request.experiment


def _key(experiment: Experiment) -> str:
    """What steps of the same cost have in common."""
    personal = experiment.personal or find_method(experiment.method).personal_default
    return (
        f"{experiment.model} on {experiment.dataset}, personal {' '.join(personal)}, "
        f"batches of {experiment.training.batch_size}"
    )


def _read(path: Path) -> DeviceWork | None:
    try:
        return decode_json(path.read_bytes(), DeviceWork)
    except (OSError, msgspec.DecodeError):
        return None  # not there, or of another version: measured again


def _measure(cell: Cell) -> StepTimes:
    batch = cell.experiment.training.batch_size
    phases = tuple(Phase(kind, batch_size=batch, learning_rate=1e-6) for kind in TrainableSet)
    bundle = export_bundle(
        cell.module,
        name=cell.experiment.model,
        input_spec=InputSpec(cell.data.dataset.sample_shape, cell.classes),
        partition=cell.partition,
        schedule=Schedule("every set", phases),
    )
    runtime = load_runtime("onnxruntime", bundle)
    weights = {
        name: array.copy()
        for group in Group
        for name, array in bundle.initial_weights(group).items()
    }
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, *cell.data.dataset.sample_shape), dtype=np.float32)
    y = np.arange(batch, dtype=np.int64) % cell.classes
    ones = np.ones(batch, np.float32)
    taken: dict[TrainableSet, list[float]] = {kind: [] for kind in TrainableSet}
    end = time.monotonic() + _BUDGET_S
    # They take turns: what slows the machine down for a while slows all of them.
    for turn in range(_WARM_UP + _REPEATS):
        for phase in phases:
            start = time.process_time()
            found = runtime.gradients(phase.trainable, weights, x, y, ones)
            Sgd(phase, {}).step(weights, found.gradients)
            if turn >= _WARM_UP:
                taken[phase.trainable].append(time.process_time() - start)
        if turn > _WARM_UP and time.monotonic() > end:
            break
    return StepTimes(**{kind.value: statistics.median(times) for kind, times in taken.items()})
