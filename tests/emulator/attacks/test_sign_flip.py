from __future__ import annotations

import numpy as np
import pytest

from pfedfrz_emulator.attacks import SignFlip
from pfedfrz_protocol import ConfigurationError

RANDOM = np.random.default_rng(4)
RECEIVED = {
    "w": RANDOM.normal(size=(3, 4)).astype(np.float32),
    "b": RANDOM.normal(size=4).astype(np.float32),
}
TRAINED = {
    name: (weight + RANDOM.normal(size=weight.shape)).astype(np.float32)
    for name, weight in RECEIVED.items()
}


def test_the_update_is_mirrored_at_the_received_weights() -> None:
    uploaded = SignFlip().tamper(RECEIVED, TRAINED)
    assert uploaded.keys() == RECEIVED.keys()
    for name, weight in uploaded.items():
        assert weight.dtype == np.float32
        assert weight.shape == RECEIVED[name].shape
        np.testing.assert_allclose((weight + TRAINED[name]) / 2, RECEIVED[name], atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_scale_stretches_the_negated_update(scale: float) -> None:
    uploaded = SignFlip(scale).tamper(RECEIVED, TRAINED)
    for name, weight in uploaded.items():
        expected = RECEIVED[name] - scale * (TRAINED[name] - RECEIVED[name])
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def test_inputs_are_neither_changed_nor_shared() -> None:
    before = {name: weight.copy() for name, weight in (RECEIVED | TRAINED).items()}
    uploaded = SignFlip().tamper(RECEIVED, TRAINED)
    for weight in uploaded.values():
        assert not any(np.shares_memory(weight, w) for w in RECEIVED.values())
        assert not any(np.shares_memory(weight, w) for w in TRAINED.values())
        weight[...] = 0
    assert all((before[name] == weight).all() for name, weight in TRAINED.items())


def test_a_device_that_learned_nothing_uploads_what_it_received() -> None:
    uploaded = SignFlip(7).tamper(RECEIVED, RECEIVED)
    assert all((uploaded[name] == weight).all() for name, weight in RECEIVED.items())


def test_the_form_is_named_with_its_strength() -> None:
    assert SignFlip(2.5).form == "update negation, S - 2.5 (S_i - S)"


def test_scalars_stay_arrays() -> None:
    uploaded = SignFlip().tamper({"s": np.array(1, np.float32)}, {"s": np.array(3, np.float32)})
    assert isinstance(uploaded["s"], np.ndarray)
    assert float(uploaded["s"]) == -1.0


def test_an_overflow_is_uploaded_without_a_warning() -> None:
    huge = {"w": np.full(2, 3e38, np.float32)}
    assert np.isinf(SignFlip().tamper(huge, {"w": -huge["w"]})["w"]).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_attacks_nothing_is_refused(scale: float) -> None:
    with pytest.raises(ConfigurationError, match="sign-flip: scale"):
        SignFlip(scale)


def test_other_tensors_than_received_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="names: b"):
        SignFlip().tamper(RECEIVED, {"w": TRAINED["w"]})
    with pytest.raises(ValueError, match=r"w: received \(3, 4\), trained \(4, 3\)"):
        SignFlip().tamper(RECEIVED, {**TRAINED, "w": TRAINED["w"].T})
