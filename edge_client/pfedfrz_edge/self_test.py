"""Examines an offered bundle in a process of its own: whatever it does, the device goes on.

    python -m pfedfrz_edge.self_test ARCHIVE DIGEST CONFIGURATION

Nothing else has looked into the archive before. It is read, held against the device's own samples,
loaded by the device's own runtime, and asked for the gradients of one batch by every graph that its
schedule needs. The exit code is 0 when all of that is right, else the last line says what is wrong.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    Parameters,
    PfedfrzError,
    TrainableSet,
)
from pfedfrz_storage import read_bundle_file

from .configuration import DeviceSettings, load_device_settings
from .data import LabelledData
from .process import read_local_data
from .runtimes import FeatureRuntime, Runtime, StepResult, load_runtime
from .runtimes.machine_memory import memory_of_machine

__all__ = ["examine"]

_POLITENESS = 10
_LARGEST_FILE = 64 << 20
"""Nothing that it writes, its last words included, fills a disk."""


def examine(archive: Path, digest: str, settings: DeviceSettings) -> None:
    """Return when the bundle works here; PfedfrzError says what does not."""
    bundle = read_bundle_file(archive)
    if bundle.manifest.digest != digest:
        raise ConfigurationError("the archive holds another bundle than was offered")
    data = read_local_data(settings, bundle).latest()
    runtime = load_runtime(settings.runtime, bundle, settings.compute_device)
    weights = {n: w for group in Group for n, w in bundle.initial_weights(group).items()}
    if not all(np.isfinite(w).all() for w in weights.values()):
        raise ConfigurationError("its initial weights are not all finite")
    samples = data.train if len(data.train) else _made_up(bundle)
    for kind in bundle.manifest.schedule.trainable_sets:
        _require_finite(kind, _step(bundle, runtime, kind, weights, samples))
    if not np.isfinite(runtime.predict(weights, samples.x[:1])).all():
        raise ConfigurationError("what it predicts is not finite")


def _made_up(bundle: Bundle) -> LabelledData:
    """A sample for a device that waits for its first: all zeros, which every model takes."""
    spec, has_classes = bundle.manifest.input, bundle.manifest.loss.has_classes
    y = np.zeros(1, np.int64) if has_classes else np.zeros((1, spec.classes), np.float32)
    return LabelledData(np.zeros((1, *spec.shape), np.float32), y)


def _step(
    bundle: Bundle,
    runtime: Runtime,
    kind: TrainableSet,
    weights: Parameters,
    data: LabelledData,
) -> StepResult:
    """One batch of the schedule's size, by way of features where the runtime has them."""
    schedule = bundle.manifest.schedule
    phases = (*schedule.phases, *schedule.evaluation_phases)
    size = min(len(data), max(p.batch_size for p in phases if p.trainable is kind))
    x, y, ones = data.x[:size], data.y[:size], np.ones(size, np.float32)
    if isinstance(runtime, FeatureRuntime) and runtime.feature_shapes(kind):
        features = runtime.features(kind, weights, x)
        _require_finite(kind, runtime.gradients_from_features(kind, weights, features, x, y, ones))
    return runtime.gradients(kind, weights, x, y, ones)


def _require_finite(kind: TrainableSet, result: StepResult) -> None:
    bad = [name for name, gradient in result.gradients.items() if not np.isfinite(gradient).all()]
    if bad or not np.isfinite(result.loss):
        what = f"gradient of {bad[0]}" if bad else "loss"
        raise ConfigurationError(
            f"on one batch of this device the {what} ({kind.value}) is no number"
        )


def _bound_this_process() -> None:
    """Be the first that goes when memory is short, and the last that computes."""
    os.nice(_POLITENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError, ValueError):
        most = memory_of_machine()
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))


if __name__ == "__main__":
    _bound_this_process()
    try:
        examine(Path(sys.argv[1]), sys.argv[2], load_device_settings(Path(sys.argv[3])))
    except PfedfrzError as error:
        sys.exit(str(error))
