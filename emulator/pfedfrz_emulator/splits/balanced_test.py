"""A test set in which every label is equally frequent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

__all__ = ["select_test"]

_SPAWN_KEY = 0x7E57_0001
"""Another stream of random numbers than the split's: the test set does not follow the devices."""


def select_test(
    test_y: NDArray[np.int64], classes: int, per_class: int | None, seed: int
) -> NDArray[np.int64]:
    """Ascending int64 rows with the same number of every label.

    That number is `per_class`, or what the rarest label has where that is less or `per_class` is
    None: on a balanced test set A_i is a constant times the poster's terms. Raises
    ConfigurationError when a label is missing or `per_class` is below 1.
    """
    if per_class is not None and per_class < 1:
        raise ConfigurationError(f"test samples per class = {per_class}; want 1 or more")
    if seed < 0:
        raise ConfigurationError(f"seed = {seed}; want 0 or more")
    counts = np.bincount(test_y, minlength=classes)
    if counts.min() == 0:
        raise ConfigurationError(f"the test set has no sample of label {int(counts.argmin())}")
    size = int(counts.min()) if per_class is None else min(per_class, int(counts.min()))
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPAWN_KEY,)))
    rows = [random.permutation(np.flatnonzero(test_y == k))[:size] for k in range(classes)]
    return np.sort(np.concatenate(rows)).astype(np.int64)
