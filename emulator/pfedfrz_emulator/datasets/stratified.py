"""A seeded test set that has every label in its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified_rows"]


def stratified_rows(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Ascending int64 row numbers that hold `share` of the rows of every label.

    At least one row of each label that has two or more, never all of them.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen.append(random.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen)).astype(np.int64)
