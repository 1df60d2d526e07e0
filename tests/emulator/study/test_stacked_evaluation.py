"""Accuracies of stacked clients are those that a device measures for itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from pfedfrz_edge.data import LabelledData
from pfedfrz_edge.evaluation import personalized_accuracy
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_emulator.study.stacked_evaluation import personalized_accuracies
from pfedfrz_emulator.study.stacked_gradients import RuntimeGradients, TracedGradients
from pfedfrz_export import export_bundle
from pfedfrz_models import build_model, resolve_partition
from pfedfrz_protocol import Bundle, Group, Hyperparameters, TrainableSet, find_method

CLIENTS, CLASSES, TESTS = 4, 6, 700


@dataclass(frozen=True)
class Scene:
    bundle: Bundle
    weights: dict[str, Tensor]


@pytest.fixture(scope="module")
def scene() -> Scene:
    model = build_model("mlp", CLASSES, 0)
    bundle = export_bundle(
        model.module,
        name="mlp",
        input_spec=model.input,
        partition=resolve_partition(model.parameter_names, model.presets, ["front"]),
        schedule=find_method("fedsim").schedule(Hyperparameters()),
    )
    torch.manual_seed(0)
    weights = {
        name: torch.from_numpy(value) + 0.05 * torch.randn(CLIENTS, *value.shape)
        for group in Group
        for name, value in bundle.initial_weights(group).items()
    }
    return Scene(bundle, weights)


def test_accuracies_are_the_devices(scene: Scene) -> None:
    """More samples than one batch; labels that nobody holds, and one that no test has."""
    random = np.random.default_rng(0)
    x = random.standard_normal((CLIENTS, TESTS, 1, 28, 28)).astype(np.float32)
    y = random.integers(0, CLASSES - 1, TESTS)  # label 5 is not tested
    shares = random.random((CLIENTS, CLASSES))
    shares[0, [1, 3]] = 0
    shares[1, :5] = 0  # holds nothing but the label that is not tested
    shares /= shares.sum(1, keepdims=True)
    runtime = load_runtime("onnxruntime", scene.bundle)
    module = build_model("mlp", CLASSES, 0).module
    traced = TracedGradients(module, {TrainableSet.ALL: tuple(scene.weights)})
    expected = [
        personalized_accuracy(
            runtime,
            {name: values[client].numpy() for name, values in scene.weights.items()},
            LabelledData(x[client], y),
            shares[client],
        )
        for client in range(CLIENTS)
    ]
    assert expected[1] is None
    for form in (RuntimeGradients(runtime), traced):
        found = personalized_accuracies(form, scene.weights, list(x), y, shares)
        assert np.isnan(found[1])
        for client in (0, 2, 3):
            # A logit on the border may fall to either side in another runtime.
            assert found[client] == pytest.approx(expected[client], abs=0.004)
