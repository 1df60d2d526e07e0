from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_emulator.datasets.dataset import Dataset, Pixels, pixel_statistics


def holding(x: Pixels, mean: float, std: float) -> Dataset:
    y = np.zeros(len(x), np.int64)
    return Dataset("d", x, y, x, y, 1, "test", mean, std)


def test_inputs_are_standardised_pixels() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    inputs = holding(pixels, 0.1307, 0.3081).inputs(pixels)
    assert inputs.dtype == np.float32
    assert inputs.shape == pixels.shape
    expected = (pixels.astype(np.float64) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(inputs, expected, rtol=1e-7, atol=1e-7)


def test_the_normalisation_is_told() -> None:
    pixels = np.zeros((1, 1, 2, 2), np.uint8)
    assert holding(pixels, 0.1307, 0.3081).normalisation == "(pixel / 255 - 0.1307) / 0.3081"
    assert holding(pixels.astype(np.float32), 0.0, 1.0).normalisation == "none"


def test_inputs_of_a_row_are_the_same_bits_alone_and_among_others() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 1, 5, 5), np.uint8)
    dataset = holding(pixels, 0.3, 0.7)
    assert dataset.inputs(pixels)[3].tobytes() == dataset.inputs(pixels[3:4]).tobytes()


def test_float_features_are_taken_as_they_are() -> None:
    features = np.array([[1.5, -2.0]], np.float32)
    assert holding(features, 0.0, 1.0).inputs(features).tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("images", [3, 5000])
def test_statistics_agree_with_numpy(images: int) -> None:
    pixels: NDArray[np.uint8] = np.random.default_rng(1).integers(
        0, 200, (images, 1, 3, 3), np.uint8
    )
    mean, std = pixel_statistics(pixels)
    scaled = pixels.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean(), abs=5.1e-5)
    assert std == pytest.approx(scaled.std(), abs=5.1e-5)


def test_constant_pixels_can_still_be_divided_by_their_deviation() -> None:
    assert pixel_statistics(np.full((2, 1, 2, 2), 255, np.uint8)) == (1.0, 1.0)
