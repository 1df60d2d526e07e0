"""Measures one runtime in a process of its own: a crash or a leak there is a finding, not ours.

    python -m pfedfrz_edge.doctor.probe BUNDLE RUNTIME [COMPUTE_DEVICE]

prints a RuntimeFinding as JSON. The samples are random: what a step costs does not depend on them.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    Bundle,
    Encoding,
    Group,
    Parameters,
    PfedfrzError,
    Phase,
    SharedCodec,
    TrainableSet,
    UpdateLabel,
)
from pfedfrz_storage import read_bundle_file

from ..optimizer import Sgd
from ..runtimes import FeatureRuntime, Labels, Runtime, device_of, load_runtime
from .findings import FeatureCost, RuntimeFinding, StepCost

__all__ = ["measure_runtime"]

_WARM_UP = 2
_REPEATS = 15
_BUDGET_S = 5.0
"""A slow board is not measured longer than this for each graph."""
_PREDICTED = 64
_STEPS_FOR_UPDATE = 5


def measure_runtime(
    bundle: Bundle, runtime_name: str, compute_device: str = "auto"
) -> RuntimeFinding:
    """Time, memory and bytes of one runtime; its fault where it does not work."""
    try:
        runtime = load_runtime(runtime_name, bundle, compute_device)
        weights = {n: w for group in Group for n, w in bundle.initial_weights(group).items()}
        steps = {
            kind: _step_cost(bundle, runtime, kind, weights)
            for kind in bundle.manifest.schedule.trainable_sets
        }
        features = {
            kind: _feature_cost(bundle, runtime, kind, weights)
            for kind in steps
            if isinstance(runtime, FeatureRuntime) and runtime.feature_shapes(kind)
        }
        x = _random_inputs(bundle, _PREDICTED)
        predict = _time(lambda: runtime.predict(weights, x))
        update_bytes = _update_bytes(bundle, runtime, weights)
    except PfedfrzError as error:
        return RuntimeFinding(runtime_name, fault=str(error))
    return RuntimeFinding(
        runtime_name,
        None,
        device_of(runtime),
        steps,
        features,
        predict.wall_s / _PREDICTED,
        predict.cpu_s / _PREDICTED,
        _peak_memory_bytes(),
        update_bytes,
    )


def _random_inputs(bundle: Bundle, samples: int) -> NDArray[np.float32]:
    spec, random = bundle.manifest.input, np.random.default_rng(0)
    shape = (samples, *spec.shape)
    if spec.tokens is not None:
        return random.integers(0, spec.tokens, shape).astype(np.float32)
    return random.standard_normal(shape, dtype=np.float32)


def _labels(bundle: Bundle, samples: int) -> Labels:
    """Labels that every loss of their kind takes."""
    classes = bundle.manifest.input.classes
    if bundle.manifest.loss.has_classes:
        return np.arange(samples, dtype=np.int64) % classes
    return np.ones((samples, classes), np.float32)


def _batch_size(bundle: Bundle, kind: TrainableSet) -> int:
    schedule = bundle.manifest.schedule
    phases = (*schedule.phases, *schedule.evaluation_phases)
    return max(phase.batch_size for phase in phases if phase.trainable is kind)


def _step_cost(
    bundle: Bundle, runtime: Runtime, kind: TrainableSet, weights: Parameters
) -> StepCost:
    size = _batch_size(bundle, kind)
    x = _random_inputs(bundle, size)
    y = _labels(bundle, size)
    ones = np.ones(size, np.float32)
    optimizer = Sgd(Phase(kind, learning_rate=1e-6), {})

    def step() -> None:
        optimizer.step(weights, runtime.gradients(kind, weights, x, y, ones).gradients)

    return _time(step)


def _feature_cost(
    bundle: Bundle, runtime: FeatureRuntime, kind: TrainableSet, weights: Parameters
) -> FeatureCost:
    size = _batch_size(bundle, kind)
    x = _random_inputs(bundle, size)
    y = _labels(bundle, size)
    ones = np.ones(size, np.float32)
    optimizer = Sgd(Phase(kind, learning_rate=1e-6), {})
    kept = runtime.features(kind, weights, x)

    def step() -> None:
        found = runtime.gradients_from_features(kind, weights, kept, x, y, ones)
        optimizer.step(weights, found.gradients)

    prefix = _time(lambda: runtime.features(kind, weights, x))
    return FeatureCost(StepCost(prefix.wall_s / size, prefix.cpu_s / size), _time(step))


def _time(work: Callable[[], object]) -> StepCost:
    for _ in range(_WARM_UP):
        work()
    walls: list[float] = []
    cpus: list[float] = []
    end = time.monotonic() + _BUDGET_S
    while len(walls) < _REPEATS and (not walls or time.monotonic() < end):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return StepCost(statistics.median(walls), statistics.median(cpus))


def _update_bytes(bundle: Bundle, runtime: Runtime, weights: Parameters) -> int:
    """The payload of an update after a few real steps: how well it compresses is known then."""
    codec = SharedCodec.for_manifest(bundle.manifest)
    base = bundle.initial_weights(Group.SHARED)
    trained = {name: weight.copy() for name, weight in weights.items()}
    for phase in bundle.manifest.schedule.phases:
        optimizer = Sgd(phase, base)
        for _ in range(_STEPS_FOR_UPDATE):
            x = _random_inputs(bundle, phase.batch_size)
            y = _labels(bundle, phase.batch_size)
            ones = np.ones(phase.batch_size, np.float32)
            result = runtime.gradients(phase.trainable, trained, x, y, ones)
            optimizer.step(trained, result.gradients)
    label = UpdateLabel("doctor", "doctor", 1, 1, "0" * 64)
    shared = {name: trained[name] for name in base}
    return len(codec.encode(shared, label, Encoding.DELTA_FLOAT16, base))


def _peak_memory_bytes() -> int:
    # Linux hands the parent's ru_maxrss on to the child; VmHWM begins anew with exec.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    finding = measure_runtime(read_bundle_file(Path(sys.argv[1])), *sys.argv[2:4])
    sys.stdout.buffer.write(msgspec.json.encode(finding))
