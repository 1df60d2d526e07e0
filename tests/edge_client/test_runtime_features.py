"""The frozen part run once: the same numbers on every runtime that offers it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.feature_cache import FeatureBudget
from pfedfrz_edge.local_training import LocalTraining, LocalUpdate
from pfedfrz_edge.runtimes import FeatureRuntime, load_runtime
from pfedfrz_export import export_bundle
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    InputSpec,
    OperationError,
    Parameters,
    Purpose,
    TrainableSet,
    find_method,
    partition_by_patterns,
)

SPEC = InputSpec((2, 12, 12), 5)
KIND = TrainableSet.PERSONAL
RUNTIMES = [
    "onnxruntime",
    pytest.param("onnxruntime-training", marks=pytest.mark.training_build),
    "torch",
]


class Pooled(nn.Module):
    """Right before what is personal stand operators that some runtimes keep whole, with indices
    and statistics as further results.
    """

    def __init__(self, before: str) -> None:
        super().__init__()
        self.front = nn.Conv2d(2, 4, 3, padding=1)
        self.last = nn.MaxPool2d(3, 2, 1) if before == "pool" else nn.GroupNorm(2, 4)
        self.own = nn.Conv2d(4, 3, 3, 2)
        self.head = nn.Linear(3 * (2 * 2 if before == "pool" else 5 * 5), 5)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.last(torch.relu(self.front(x)))
        logits: Tensor = self.head(torch.relu(self.own(kept)).flatten(1))
        return logits


SIZES = {"pool": [4 * 6 * 6], "norm": [4 * 12 * 12]}
"""Numbers that are kept of each sample; in which shape is a target's own choice."""


@cache
def bundle_for(before: str, runtime: str) -> Bundle:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(4)
        module = Pooled(before)
    names = [name for name, _ in module.named_parameters()]
    hyperparameters = Hyperparameters(epochs=3, batch_size=8, learning_rate=0.05, momentum=0.5)
    return export_bundle(  # which verifies both ways
        module,
        name=before,
        input_spec=SPEC,
        partition=partition_by_patterns(names, ["own.*", "head.*"]),
        schedule=find_method("pfedfrz").schedule(hyperparameters),
        runtimes=[runtime],
    )


def weights_of(bundle: Bundle) -> Parameters:
    return {n: a for group in Group for n, a in bundle.initial_weights(group).items()}


@pytest.mark.parametrize("before", SIZES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_gradients_from_features_are_those_of_the_whole_step(runtime: str, before: str) -> None:
    bundle = bundle_for(before, runtime)
    run, weights = load_runtime(runtime, bundle), weights_of(bundle)
    assert isinstance(run, FeatureRuntime)
    # What was kept is the result itself, not what it was computed from.
    assert [math.prod(shape) for shape in run.feature_shapes(KIND)] == SIZES[before]
    assert run.feature_shapes(TrainableSet.ALL) == ()
    random = np.random.default_rng(0)
    x, y = random.standard_normal((9, *SPEC.shape), np.float32), random.integers(0, 5, 9)
    weight = random.random(9, np.float32)
    parts = [run.features(KIND, weights, rows) for rows in (x[:1], x[1:4], x[4:])]
    kept = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
    step = run.gradients_from_features(KIND, weights, kept, x, y, weight)
    whole = run.gradients(KIND, weights, x, y, weight)
    assert step.loss == pytest.approx(whole.loss, rel=1e-6)
    assert step.correct == pytest.approx(whole.correct)
    assert list(step.gradients) == list(whole.gradients)
    allowed = 1e-6 * max(float(np.abs(g).max()) for g in whole.gradients.values())
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(step.gradients[name], gradient, rtol=0, atol=allowed)


def train(bundle: Bundle, runtime: str, budget: FeatureBudget) -> LocalUpdate:
    random = np.random.default_rng(1)
    x, y = random.standard_normal((21, *SPEC.shape), np.float32), random.integers(0, 5, 21)
    data = LocalData(LabelledData(x, y), None, SPEC.classes)
    run = load_runtime(runtime, bundle)
    training = LocalTraining(run, bundle.manifest, data, "device", 0, budget=budget)
    shared, personal = (bundle.initial_weights(g) for g in (Group.SHARED, Group.PERSONAL))
    return training.run(1, Purpose.TRAIN, shared, personal)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_whole_round_ends_alike_with_and_without_room_for_features(runtime: str) -> None:
    bundle = bundle_for("pool", runtime)
    kept = train(bundle, runtime, FeatureBudget())
    without = train(bundle, runtime, FeatureBudget(memory_bytes=0))
    for one, other in ((kept.shared, without.shared), (kept.personal, without.personal)):
        for name, array in one.items():
            np.testing.assert_allclose(array, other[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_features_that_are_not_what_the_graph_takes_are_one_line(runtime: str) -> None:
    bundle = bundle_for("pool", runtime)
    run, weights = load_runtime(runtime, bundle), weights_of(bundle)
    assert isinstance(run, FeatureRuntime)
    x, y, weight = np.zeros((2, *SPEC.shape), np.float32), np.zeros(2, np.int64), np.ones(2)
    wrong = [np.zeros((2, 3, 6, 6), np.float32)]
    with pytest.raises(OperationError, match="from features") as caught:
        run.gradients_from_features(KIND, weights, wrong, x, y, weight.astype(np.float32))
    assert "\n" not in str(caught.value)
