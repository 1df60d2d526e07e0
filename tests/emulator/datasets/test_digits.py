from __future__ import annotations

import numpy as np
import pytest

from pfedfrz_emulator.datasets.digits import load_digits


def test_every_image_is_in_the_training_or_the_test_set_once() -> None:
    digits = load_digits(None)
    assert digits.train_x.shape[1:] == (1, 8, 8)
    assert len(digits.train_y) + len(digits.test_y) == 1797
    # Two of the 1,797 images may be equal, so whole multisets are compared.
    from sklearn.datasets import load_digits as bundled

    original = np.rint(bundled().images * 255 / 16).astype(np.uint8)
    together = np.concatenate([digits.train_x, digits.test_x])[:, 0]
    assert sorted(map(bytes, together)) == sorted(map(bytes, original))


def test_every_label_has_its_share_in_the_test_set() -> None:
    digits = load_digits(None)
    shares = np.bincount(digits.test_y) / (np.bincount(digits.test_y) + np.bincount(digits.train_y))
    np.testing.assert_allclose(shares, 0.2, atol=0.003)


def test_the_split_is_the_same_every_time() -> None:
    first, second = load_digits((1, 28, 28)), load_digits((1, 28, 28))
    assert (first.test_x == second.test_x).all()
    assert (first.train_y == second.train_y).all()


def test_images_are_fitted_to_the_model_and_it_is_said() -> None:
    digits = load_digits((1, 28, 28))
    assert digits.sample_shape == (1, 28, 28)
    assert "every pixel repeated 3 x 3" in digits.notes[0]
    small = load_digits(None)
    inputs = small.inputs(small.train_x)
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)
