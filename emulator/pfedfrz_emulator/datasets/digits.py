"""The 1,797 handwritten digits of 8 x 8 that come with scikit-learn: needs no network, ever."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, pixel_statistics
from .fitting import fit_images
from .stratified import stratified_rows

__all__ = ["load_digits"]

_SPLIT_SEED = 1797
"""Fixed: which images are test images must not change with the seed of a run."""

_TEST_SHARE = 0.2


def load_digits(input_shape: tuple[int, ...] | None) -> Dataset:
    """1,438 training and 359 test images with the same share of every label."""
    # Imported here: scikit-learn takes a second to load and nothing else needs it.
    from sklearn.datasets import load_digits as bundled

    loaded = bundled()
    # Pixels are 0..16 there.
    values: NDArray[np.float64] = loaded.images
    images = np.rint(values * (255.0 / 16.0)).astype(np.uint8)[:, None]
    labels: NDArray[np.int64] = loaded.target.astype(np.int64)
    test = stratified_rows(labels, _TEST_SHARE, _SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    mean, std = pixel_statistics(images[train])
    fitted, notes = fit_images(images, input_shape, "digits")
    return Dataset(
        name="digits",
        train_x=fitted[train],
        train_y=labels[train],
        test_x=fitted[test],
        test_y=labels[test],
        classes=10,
        source="scikit-learn",
        mean=mean,
        std=std,
        notes=notes,
    )
