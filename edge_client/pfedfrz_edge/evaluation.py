"""How good a device's model is for that device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import LossKind, LossSpec, Parameters

from .data import LabelledData, LocalData
from .runtimes import Runtime

__all__ = ["Evaluation", "evaluate", "personalized_accuracy"]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a device's test samples; None for what was not."""

    accuracy: float | None = None
    """By class labels the personalized accuracy; by yes and no for each output the share of right
    answers; None for numbers, which are never simply right."""
    loss: float | None = None
    """The mean loss of a sample, where labels are a number for each output."""


def evaluate(
    runtime: Runtime,
    parameters: Parameters,
    data: LocalData,
    loss: LossSpec,
    *,
    batch_size: int = 256,
    before_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """How good the parameters are for the device whose data this is.

    `before_batch` is called before every batch, and may raise to end it early.
    """
    test = data.test
    if test is None or not len(test):
        return Evaluation()
    if loss.has_classes:
        shares = data.label_shares
        return Evaluation(
            personalized_accuracy(
                runtime,
                parameters,
                test,
                shares,
                batch_size=batch_size,
                before_batch=before_batch,
            )
        )
    losses, right = 0.0, 0.0
    for start in range(0, len(test), batch_size):
        before_batch()
        y = test.y[start : start + batch_size]
        outputs = runtime.predict(parameters, test.x[start : start + batch_size])
        losses += float(_losses(loss, outputs.astype(np.float64), y).sum()) / y.shape[1]
        right += float(((outputs > 0) == (y > 0.5)).mean(axis=1).sum())
    accuracy = min(1.0, right / len(test)) if loss.counts_hits else None
    return Evaluation(accuracy, losses / len(test))


def _losses(
    loss: LossSpec, outputs: NDArray[np.float64], y: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The loss of each output of each sample, `(samples, outputs)` float64."""
    if loss.kind is LossKind.MEAN_SQUARED_ERROR:
        return np.square(outputs - y)
    return np.logaddexp(0, outputs) - y * outputs


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
