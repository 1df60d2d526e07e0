"""How good a device's model is for that device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import Parameters

from .local_data import LabelledData
from .runtimes import Runtime

__all__ = ["personalized_accuracy"]


def personalized_accuracy(
    runtime: Runtime,
    parameters: Parameters,
    test: LabelledData,
    label_shares: NDArray[np.float64],
    *,
    batch_size: int = 256,
    before_batch: Callable[[], None] = lambda: None,
) -> float | None:
    """A = sum_k q_k T_k / N_k, the accuracy weighted by the device's own label mix.

    q_k is `label_shares` `(classes,)`, T_k the correct predictions of label k among the N_k test
    samples of that label. On a balanced test set this is K / T_total times the poster's terms.
    Samples of labels that the device does not hold cannot change A and are not run. Labels that
    the device holds but the test set does not are left out and the rest is weighted up; None when
    nothing remains. `before_batch` is called before every batch, and may raise to end it early.
    """
    classes = len(label_shares)
    present = np.bincount(test.y, minlength=classes)
    counted = (label_shares > 0) & (present > 0)
    if not counted.any():
        return None
    chosen = np.flatnonzero(counted[test.y])
    correct = np.zeros(classes, np.int64)
    for start in range(0, len(chosen), batch_size):
        before_batch()
        rows = chosen[start : start + batch_size]
        labels = test.y[rows]
        hit = runtime.predict(parameters, test.x[rows]).argmax(axis=1) == labels
        correct += np.bincount(labels[hit], minlength=classes)
    q = label_shares[counted]
    accuracy = float((q * correct[counted] / present[counted]).sum() / q.sum())
    # Rounding lets the sum of shares exceed one by its last bit, and no accuracy may.
    return min(1.0, accuracy)
