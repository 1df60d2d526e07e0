"""Training on kept features: the same numbers, the prefix run once, and room that runs out."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.feature_cache import FeatureBudget, cached_features
from pfedfrz_edge.local_training import LocalTraining, LocalUpdate, TrainingCancelled
from pfedfrz_edge.runtimes import FeatureRuntime, Runtime, StepResult, load_runtime
from pfedfrz_export import export_bundle
from pfedfrz_models import build_model, resolve_partition
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    Parameters,
    Purpose,
    TrainableSet,
    find_method,
)

Arrays = Mapping[str, NDArray[np.float32]]
FEATURES = 32  # what fc3, the personal head, sees of a sample
EPOCHS = 4


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    model = build_model("mlp", 10, seed=3)
    return export_bundle(
        model.module,
        name="mlp",
        input_spec=model.input,
        partition=resolve_partition(model.parameter_names, model.presets, ["head"]),
        schedule=find_method("pfedfrz").schedule(
            Hyperparameters(epochs=EPOCHS, batch_size=16, learning_rate=0.05, momentum=0.9)
        ),
    )


class Counting:
    """The real runtime; counts the samples that go through each kind of graph."""

    def __init__(self, runtime: Runtime) -> None:
        assert isinstance(runtime, FeatureRuntime)
        self.name = runtime.name
        self._runtime = runtime
        self.whole: dict[TrainableSet, int] = dict.fromkeys(TrainableSet, 0)
        self.prefix = self.rest = 0

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Arrays,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        self.whole[trainable] += len(x)
        return self._runtime.gradients(trainable, parameters, x, y, weight)

    def predict(self, parameters: Arrays, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._runtime.predict(parameters, x)

    def feature_shapes(self, trainable: TrainableSet) -> tuple[tuple[int, ...], ...]:
        return self._runtime.feature_shapes(trainable)

    def features(
        self, trainable: TrainableSet, parameters: Arrays, x: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], ...]:
        self.prefix += len(x)
        return self._runtime.features(trainable, parameters, x)

    def gradients_from_features(
        self,
        trainable: TrainableSet,
        parameters: Arrays,
        features: Sequence[NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        self.rest += len(x)
        return self._runtime.gradients_from_features(trainable, parameters, features, x, y, weight)


class WithoutFeatures:
    """A runtime that offers the gradient contract and nothing more."""

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.gradients, self.predict = runtime.name, runtime.gradients, runtime.predict


def run(
    bundle: Bundle, data: LocalData, runtime: Runtime, budget: FeatureBudget | None = None
) -> LocalUpdate:
    budget = budget or FeatureBudget()
    training = LocalTraining(runtime, bundle.manifest, data, "device-1", 7, budget=budget)
    groups = (bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL))
    return training.run(3, Purpose.TRAIN, *groups)


def assert_same(one: Parameters, other: Parameters, tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=0, atol=tolerance)


def test_training_on_features_gives_the_same_weights(bundle: Bundle, mlp_data: LocalData) -> None:
    runtime = load_runtime("onnxruntime", bundle)
    kept, plain = run(bundle, mlp_data, runtime), run(bundle, mlp_data, WithoutFeatures(runtime))
    assert_same(kept.personal, plain.personal, 1e-6)
    assert_same(kept.shared, plain.shared, 1e-6)
    assert kept.report.loss == pytest.approx(plain.report.loss, rel=1e-5)
    moved = np.abs(
        kept.personal["fc3.weight"] - bundle.initial_weights(Group.PERSONAL)["fc3.weight"]
    )
    assert moved.max() > 1e-3  # so that the comparison says something


def test_the_prefix_is_run_once_for_each_sample_and_the_whole_not_at_all(
    bundle: Bundle, mlp_data: LocalData
) -> None:
    runtime, samples = Counting(load_runtime("onnxruntime", bundle)), len(mlp_data.train)
    run(bundle, mlp_data, runtime)
    assert runtime.prefix == samples
    assert runtime.rest == EPOCHS * samples
    assert runtime.whole[TrainableSet.PERSONAL] == 0
    assert runtime.whole[TrainableSet.ALL] == EPOCHS * samples


def test_a_phase_of_one_epoch_keeps_nothing(bundle: Bundle, mlp_data: LocalData) -> None:
    schedule = find_method("pfedfrz").schedule(Hyperparameters(epochs=1))
    once = Bundle(msgspec.structs.replace(bundle.manifest, schedule=schedule), bundle.files)
    runtime = Counting(load_runtime("onnxruntime", once))
    run(once, mlp_data, runtime)
    assert (runtime.prefix, runtime.rest) == (0, 0)


def test_a_frozen_phase_on_features_leaves_every_frozen_bit(
    bundle: Bundle, mlp_data: LocalData
) -> None:
    schedule = find_method("local").schedule(Hyperparameters(epochs=EPOCHS))
    frozen = Bundle(msgspec.structs.replace(bundle.manifest, schedule=schedule), bundle.files)
    runtime = Counting(load_runtime("onnxruntime", frozen))
    update = run(frozen, mlp_data, runtime)
    assert runtime.rest > 0
    received = bundle.initial_weights(Group.SHARED)
    assert all(update.shared[n].tobytes() == a.tobytes() for n, a in received.items())


def test_what_does_not_fit_into_memory_goes_to_a_file_that_nobody_sees(
    bundle: Bundle, mlp_data: LocalData, tmp_path: Path
) -> None:
    size = len(mlp_data.train) * FEATURES * 4
    runtime = Counting(load_runtime("onnxruntime", bundle))
    budget = FeatureBudget(memory_bytes=size - 1, directory=tmp_path)
    seen: list[list[str]] = []

    class Looking(Counting):
        def features(
            self, trainable: TrainableSet, parameters: Arrays, x: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], ...]:
            seen.append([entry.name for entry in tmp_path.iterdir()])
            return super().features(trainable, parameters, x)

    on_disk = run(bundle, mlp_data, Looking(load_runtime("onnxruntime", bundle)), budget)
    in_memory = run(bundle, mlp_data, runtime)
    assert_same(on_disk.personal, in_memory.personal, 0.0)
    assert seen
    assert all(not names for names in seen)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", ["no directory", "too large", "disk full", "no such directory"])
def test_without_room_the_device_trains_without_features(
    bundle: Bundle,
    mlp_data: LocalData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    budget = {
        "no directory": FeatureBudget(0),
        "too large": FeatureBudget(0, tmp_path, disk_bytes=10),
        "disk full": FeatureBudget(0, tmp_path),
        "no such directory": FeatureBudget(0, tmp_path / "gone"),
    }[case]
    if case == "disk full":

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
    runtime = Counting(load_runtime("onnxruntime", bundle))
    update = run(bundle, mlp_data, runtime, budget)
    assert (runtime.prefix, runtime.rest) == (0, 0)
    plain = run(bundle, mlp_data, WithoutFeatures(load_runtime("onnxruntime", bundle)))
    assert_same(update.personal, plain.personal, 0.0)
    assert not list(tmp_path.iterdir())


def test_room_is_given_for_exactly_what_fits(bundle: Bundle, mlp_data: LocalData) -> None:
    size, weights = len(mlp_data.train) * FEATURES * 4, bundle.initial_weights(Group.SHARED)
    for memory, fits in ((size, True), (size - 1, False)):
        with cached_features(
            load_runtime("onnxruntime", bundle),
            TrainableSet.PERSONAL,
            weights,
            mlp_data.train.x,
            FeatureBudget(memory),
            lambda: None,
        ) as features:
            assert (features is not None) is fits


def test_a_cancelled_round_ends_between_two_runs_of_the_prefix(
    bundle: Bundle, mlp_data: LocalData
) -> None:
    runtime = Counting(load_runtime("onnxruntime", bundle))
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(runtime.prefix)
        return True

    training = LocalTraining(runtime, bundle.manifest, mlp_data, "d", 0, cancelled=cancelled)
    groups = (bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL))
    with pytest.raises(TrainingCancelled):
        training.run(1, Purpose.TRAIN, *groups)
    assert calls == [0]
    assert runtime.prefix == 0


def test_what_is_kept_is_of_the_data_of_that_round(bundle: Bundle, mlp_data: LocalData) -> None:
    """A device's data may grow, or change in place, between two rounds of the same training."""
    runtime = load_runtime("onnxruntime", bundle)
    other = LabelledData(mlp_data.train.x[::-1] * np.float32(0.5), mlp_data.train.y[::-1])
    grown = LabelledData(np.concatenate([other.x, other.x]), np.concatenate([other.y, other.y]))
    both = [LocalTraining(r, bundle.manifest, mlp_data, "device-1", 7)
            for r in (runtime, WithoutFeatures(runtime))]  # fmt: skip
    groups = [bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL)]
    for train in (mlp_data.train, other, grown):
        kept, plain = (
            replace(each, data=LocalData(train, None, 10)).run(3, Purpose.TRAIN, *groups)
            for each in both
        )
        for one, same in ((kept.personal, plain.personal), (kept.shared, plain.shared)):
            assert_same(one, same, 1e-6)
        assert kept.report.samples == len(train)
