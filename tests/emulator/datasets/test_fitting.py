from __future__ import annotations

import numpy as np
import pytest

from pfedfrz_emulator.datasets.fitting import fit_images
from pfedfrz_protocol import ConfigurationError

IMAGES = np.random.default_rng(3).integers(1, 256, (2, 1, 8, 8), np.uint8)


def test_images_of_the_right_size_are_not_touched() -> None:
    fitted, notes = fit_images(IMAGES, (1, 8, 8), "d")
    assert fitted is IMAGES
    assert notes == ()


def test_enlarging_repeats_pixels_and_centres() -> None:
    fitted, notes = fit_images(IMAGES, (1, 28, 28), "d")
    assert fitted.shape == (2, 1, 28, 28)
    assert fitted.dtype == np.uint8
    for row in range(8):
        for column in range(8):
            block = fitted[0, 0, 2 + 3 * row : 5 + 3 * row, 2 + 3 * column : 5 + 3 * column]
            assert (block == IMAGES[0, 0, row, column]).all()
    assert int(fitted.sum()) == 9 * int(IMAGES.sum())
    assert notes == (
        "images 8 x 8 fitted to 28 x 28: every pixel repeated 3 x 3 and padded with zeros",
    )


def test_a_small_enlargement_only_pads() -> None:
    fitted, notes = fit_images(IMAGES, (1, 11, 10), "d")
    assert (fitted[:, :, 1:9, 1:9] == IMAGES).all()
    assert notes == ("images 8 x 8 fitted to 11 x 10: padded with zeros",)


def test_shrinking_takes_the_rounded_mean_of_blocks() -> None:
    fitted, notes = fit_images(IMAGES, (1, 4, 2), "d")
    expected = [
        [IMAGES[1, 0, 2 * r : 2 * r + 2, 4 * c : 4 * c + 4].mean() for c in range(2)]
        for r in range(4)
    ]
    np.testing.assert_allclose(fitted[1, 0], expected, atol=0.5)
    assert notes == ("images 8 x 8 shrunk to 4 x 2: mean of 2 x 4 pixels",)


def test_a_flat_model_gets_flat_images() -> None:
    fitted, notes = fit_images(IMAGES, (64,), "d")
    assert (fitted == IMAGES.reshape(2, 64)).all()
    assert notes == ("images 1 x 8 x 8 flattened",)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 5), (1, 16, 4), (63,), (8, 8)])
def test_what_does_not_fit_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="dataset d: its samples are 1 x 8 x 8"):
        fit_images(IMAGES, shape, "d")
