"""Ditto: a device that trains what it shares, and a copy of its own that it predicts with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional

from pfedfrz_edge.batches import epoch_order
from pfedfrz_edge.data import LocalData
from pfedfrz_edge.evaluation import personalized_accuracy
from pfedfrz_edge.local_training import LocalTraining, LocalUpdate
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_models import build_model
from pfedfrz_protocol import (
    Bundle,
    BundleError,
    ConfigurationError,
    Group,
    Hyperparameters,
    Parameters,
    Phase,
    Purpose,
    TrainableSet,
    copied_name,
    copy_name,
    decode_manifest,
    encode_manifest,
    find_method,
)

MlpBundle = Callable[[str, Hyperparameters], Bundle]
SEED, DEVICE, ROUND = 11, "device-3", 5
HYPER = Hyperparameters(
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    momentum=0.5,
    weight_decay=0.01,
    clip_norm=0.5,
    proximal=0.2,
)


@pytest.fixture(scope="module")
def bundle(mlp_bundle: MlpBundle) -> Bundle:
    return mlp_bundle("ditto", HYPER)


def moved(weights: Parameters, seed: int) -> Parameters:
    random = np.random.default_rng(seed)
    return {
        name: w + random.normal(scale=0.02, size=w.shape).astype(np.float32)
        for name, w in weights.items()
    }


def received(bundle: Bundle) -> Parameters:
    return moved(bundle.initial_weights(Group.SHARED), 1)


def kept(bundle: Bundle) -> Parameters:
    return moved(bundle.initial_personal(), 2)


def run(bundle: Bundle, data: LocalData) -> LocalUpdate:
    training = LocalTraining(
        load_runtime("onnxruntime", bundle), bundle.manifest, data, DEVICE, SEED
    )
    return training.run(ROUND, Purpose.TRAIN, received(bundle), kept(bundle))


def in_torch(
    start: Parameters, pulled_to: Parameters | None, data: LocalData, index: int
) -> Parameters:
    """Two epochs by torch's autograd and optimizer, with a pull to `pulled_to` if there is one."""
    module = build_model("mlp", 10, seed=0).module
    module.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in start.items()})
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.5, weight_decay=0.01)
    for epoch in range(2):
        order = epoch_order(SEED, DEVICE, ROUND, str(index), epoch, len(y))
        for rows in torch.from_numpy(order).split(16):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            for name, parameter in module.named_parameters():
                if pulled_to is not None:
                    assert parameter.grad is not None
                    pull = parameter.detach() - torch.from_numpy(pulled_to[name])
                    parameter.grad += 0.2 * pull
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}


def test_both_models_are_those_of_a_plain_torch_loop(bundle: Bundle, mlp_data: LocalData) -> None:
    update = run(bundle, mlp_data)
    own = {copied_name(name) or "": array for name, array in kept(bundle).items()}
    shared = in_torch(received(bundle), None, mlp_data, 0)
    copy = in_torch(own, received(bundle), mlp_data, 1)
    assert set(update.shared) == set(shared)
    assert set(update.personal) == {copy_name(name) for name in copy}
    for name, wanted in shared.items():
        np.testing.assert_allclose(update.shared[name], wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(update.personal[copy_name(name)], copy[name], rtol=0, atol=1e-5)
        assert np.abs(copy[name] - wanted).max() > 1e-3


def test_neither_phase_moves_a_bit_of_the_other_model(bundle: Bundle, mlp_data: LocalData) -> None:
    ended: list[dict[str, bytes]] = []
    training = LocalTraining(
        load_runtime("onnxruntime", bundle),
        bundle.manifest,
        mlp_data,
        DEVICE,
        SEED,
        on_phase_end=lambda _, personal: ended.append(
            {name: array.tobytes() for name, array in personal.items()}
        ),
    )
    update = training.run(ROUND, Purpose.TRAIN, received(bundle), kept(bundle))
    one_phase = msgspec.structs.replace(
        bundle.manifest.schedule, phases=bundle.manifest.schedule.phases[:1]
    )
    manifest = msgspec.structs.replace(bundle.manifest, schedule=one_phase)
    alone = LocalTraining(training.runtime, manifest, mlp_data, DEVICE, SEED)
    shared_only = alone.run(ROUND, Purpose.TRAIN, received(bundle), {}).shared
    assert {n: a.tobytes() for n, a in update.shared.items()} == {
        n: a.tobytes() for n, a in shared_only.items()
    }
    # The copy was stored once: after its own phase.
    assert ended == [{name: array.tobytes() for name, array in update.personal.items()}]


def test_the_device_is_measured_with_its_copy(bundle: Bundle, mlp_data: LocalData) -> None:
    update = run(bundle, mlp_data)
    assert mlp_data.test is not None
    runtime, shares = load_runtime("onnxruntime", bundle), mlp_data.label_shares
    copy = {copied_name(name) or "": array for name, array in update.personal.items()}
    wanted = personalized_accuracy(runtime, copy, mlp_data.test, shares)
    assert update.report.local == wanted
    assert wanted != personalized_accuracy(runtime, update.shared, mlp_data.test, shares)


def test_the_copy_begins_as_the_shared_weights(bundle: Bundle) -> None:
    shared, own = bundle.initial_weights(Group.SHARED), bundle.initial_personal()
    assert {copy_name(name) for name in shared} == set(own)
    assert all(np.array_equal(own[copy_name(name)], array) for name, array in shared.items())


def test_only_a_phase_of_a_copy_pulls_and_only_shared_weights_have_copies() -> None:
    shared, copy = find_method("ditto").schedule(Hyperparameters()).phases
    assert (shared.of_copy, shared.proximal) == (False, 0.0)
    assert (copy.of_copy, copy.proximal) == (True, 0.1)
    with pytest.raises(ConfigurationError, match="trainable = 'all'"):
        Phase(TrainableSet.ALL, of_copy=True)


def test_a_bundle_with_a_copy_and_personal_weights_is_refused(mlp_bundle: MlpBundle) -> None:
    mixed = mlp_bundle("pfedfrz", HYPER).manifest
    schedule = find_method("ditto").schedule(HYPER)
    damaged = msgspec.structs.replace(mixed, schedule=schedule)
    with pytest.raises(BundleError, match="beside personal ones"):
        decode_manifest(encode_manifest(damaged))
