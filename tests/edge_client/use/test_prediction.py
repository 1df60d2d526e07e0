"""What a model says of samples, by the bundle's loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import make_bundle

from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.model_store import KeptModel, ModelStore
from pfedfrz_edge.use import load_model_in_use, predict_samples
from pfedfrz_protocol import (
    Bundle,
    Group,
    LossKind,
    LossSpec,
    OperationError,
    Parameters,
    TrainableSet,
    copy_name,
)


class Fixed:
    """Says of every sample what it is told to: x itself."""

    name = "fixed"

    def gradients(self, trainable: TrainableSet, *_: object) -> None:
        raise AssertionError

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return x


def predicted(z: list[list[float]], loss: LossSpec) -> list[dict[str, object]]:
    found = predict_samples(Fixed(), {}, np.array(z, np.float32), loss)  # type: ignore[arg-type]
    assert all("\n" not in str(one) for one in found)
    return [msgspec.json.decode(msgspec.json.encode(one)) for one in found]


def test_classes_have_a_label_and_its_probability() -> None:
    found = predicted([[0.0, np.log(3)], [1000.0, -1000.0]], LossSpec())
    assert found == [
        {"label": 1, "probability": pytest.approx(0.75)},
        {"label": 0, "probability": pytest.approx(1.0)},
    ]


def test_yes_and_no_have_a_probability_each() -> None:
    loss = LossSpec(LossKind.BINARY_CROSS_ENTROPY)
    found = predicted([[np.log(3), -np.log(3), 0.0], [-1e4, 1e4, -1e4]], loss)
    assert found[0] == {"labels": [0], "probabilities": pytest.approx([0.75, 0.25, 0.5])}
    assert found[1] == {"labels": [1], "probabilities": pytest.approx([0.0, 1.0, 0.0])}


def test_numbers_are_numbers() -> None:
    found = predicted([[1.5, -2.0]], LossSpec(LossKind.MEAN_SQUARED_ERROR))
    assert found == [{"outputs": [1.5, -2.0]}]


def test_many_samples_come_in_their_order() -> None:
    z = np.eye(3, dtype=np.float32)[np.arange(1000) % 3]
    found = predict_samples(Fixed(), {}, z, LossSpec())  # type: ignore[arg-type]
    assert [one.label for one in found] == [number % 3 for number in range(1000)]


# Which weights


def settings(folder: Path) -> DeviceSettings:
    return DeviceSettings(
        "lab", "me", folder / "b.pfz", folder, DataSettings(str(folder / "x.npz"))
    )


def trained() -> Parameters:
    bundle = make_bundle()
    both = {**bundle.initial_weights(Group.SHARED), **bundle.initial_personal()}
    return {
        name: np.full_like(weight, number) for number, (name, weight) in enumerate(both.items())
    }


def test_before_the_first_training_the_bundles_weights_are_used_and_said(tmp_path: Path) -> None:
    bundle = make_bundle()
    model = load_model_in_use(settings(tmp_path).state_dir, bundle)
    assert model.round is None
    assert "no round has been trained on this device yet" in model.origin
    expected = {**bundle.initial_weights(Group.SHARED), **bundle.initial_personal()}
    assert model.weights.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(model.weights[name], weight)


def test_afterwards_the_pair_of_the_last_training(tmp_path: Path) -> None:
    bundle, weights = make_bundle(), trained()
    ModelStore(tmp_path, bundle.manifest.digest).save(KeptModel(weights, 4, "d" * 64))
    model = load_model_in_use(settings(tmp_path).state_dir, bundle)
    assert model.round == 4
    assert model.saved_at is not None
    for name, weight in weights.items():
        np.testing.assert_array_equal(model.weights[name], weight)


def test_where_the_device_keeps_a_copy_of_its_own_the_copy_is_used(tmp_path: Path) -> None:
    tiny = make_bundle(method="ditto")
    assert tiny.manifest.schedule.keeps_copy
    rows = tuple(
        msgspec.structs.replace(row, group=Group.SHARED) for row in tiny.manifest.parameters
    )
    bundle = Bundle(msgspec.structs.replace(tiny.manifest, parameters=rows), tiny.files)
    shared = {row.name: np.zeros(row.shape, np.float32) for row in rows}
    own = {copy_name(name): weight + 1 for name, weight in shared.items()}
    kept = KeptModel({**shared, **own}, 4, "d" * 64)
    ModelStore(tmp_path, bundle.manifest.digest).save(kept)
    model = load_model_in_use(settings(tmp_path).state_dir, bundle)
    assert model.weights.keys() == shared.keys()
    assert all((weight == 1).all() for weight in model.weights.values())


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    bundle, weights = make_bundle(), trained()
    weights.pop(next(iter(weights)))
    ModelStore(tmp_path, bundle.manifest.digest).save(KeptModel(weights, 4, "d" * 64))
    with pytest.raises(OperationError, match="does not hold the weights of the bundle's model"):
        load_model_in_use(settings(tmp_path).state_dir, bundle)
