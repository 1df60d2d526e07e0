"""The label mix of devices, as the report shows it and the accuracy formula uses it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["label_mix"]


def label_mix(labels: Sequence[NDArray[np.int64]], classes: int) -> NDArray[np.float64]:
    """q_ik, the share of label k among device i's labels: `(devices, classes)` float64.

    Rows sum to 1; the row of a device without samples is 0.
    """
    counts = np.array([np.bincount(own, minlength=classes) for own in labels], dtype=np.float64)
    counts = counts.reshape(len(labels), classes)
    totals: NDArray[np.float64] = counts.sum(axis=1, keepdims=True)
    return counts / np.maximum(1.0, totals)
