"""A labelled set of images, kept small, and the one way to make model inputs of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "Pixels", "pixel_statistics"]

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Samples as a dataset holds them: uint8 pixels, or float32 features that are taken as they are."""

_STATISTICS_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples with labels 0 to classes - 1.

    `train_x` and `test_x` are uint8 `(n, channels, height, width)` pixels, or float32 of any
    shape where the user's own file says so; `train_y` and `test_y` are int64 `(n,)`. The arrays
    may be read-only. Models never see them directly but through `inputs`.
    """

    name: str
    train_x: Pixels
    train_y: NDArray[np.int64]
    test_x: Pixels
    test_y: NDArray[np.int64]
    classes: int
    source: str
    """Where the samples came from, for the report."""
    mean: float
    """Mean of the training pixels on the scale 0..1; 0 for float32 features."""
    std: float
    """Standard deviation of the same; 1 for float32 features."""
    notes: tuple[str, ...] = ()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one model input."""
        return self.train_x.shape[1:]

    @property
    def normalisation(self) -> str:
        """What `inputs` does, for people: a device with its own data has to do the same."""
        if self.train_x.dtype != np.uint8:
            return "none"
        return f"(pixel / 255 - {self.mean:g}) / {self.std:g}"

    def inputs(self, samples: Pixels) -> NDArray[np.float32]:
        """Model inputs, float32 of the same shape: `(samples / 255 - mean) / std` for pixels.

        The one normalisation of the project: the fleet's devices, the study and the tests all get
        their inputs here, so the same rows give the same bits. With SGD at the default learning
        rate, inputs of mean 0 and deviation 1 train about three times as fast as inputs of 0..1.
        float32 samples come back as they are.
        """
        if samples.dtype != np.uint8:
            return np.asarray(samples, dtype=np.float32)
        # A table of 256 values: one rounding per pixel value, whatever the array's size.
        levels = np.arange(256, dtype=np.float64) / 255.0
        table = ((levels - self.mean) / self.std).astype(np.float32)
        return np.asarray(table[samples], dtype=np.float32)


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels on the scale 0..1, rounded to four places.

    Exact integer counts, so the result does not depend on the order or the machine. A constant
    image set has deviation 1, so that it can still be divided by.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(images), _STATISTICS_ROWS):
        counts += np.bincount(images[start : start + _STATISTICS_ROWS].ravel(), minlength=256)
    pixels = int(counts.sum())
    if not pixels:
        return 0.0, 1.0
    total = sum(value * int(count) for value, count in enumerate(counts))
    squares = sum(value * value * int(count) for value, count in enumerate(counts))
    mean = total / pixels / 255.0
    std = math.sqrt(max(0, squares * pixels - total * total)) / pixels / 255.0
    return round(mean, 4), round(std, 4) or 1.0
