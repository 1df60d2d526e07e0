"""What a device's model says of samples."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import LossKind, LossSpec, Parameters

from ..runtimes import Runtime

__all__ = ["Prediction", "predict_samples"]

_BATCH = 256


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one sample; what is None does not fit the bundle's loss."""

    label: int | None = None
    """The likeliest class."""
    probability: float | None = None
    """Of that class."""
    labels: tuple[int, ...] | None = None
    """Where each output is yes or no: those that are likelier yes."""
    probabilities: tuple[float, ...] | None = None
    """Of every output, likewise."""
    outputs: tuple[float, ...] | None = None
    """Where labels are numbers: the numbers."""

    def __str__(self) -> str:
        if self.label is not None and self.probability is not None:
            return f"label {self.label}  probability {self.probability:.4f}"
        if self.probabilities is not None:
            yes = ", ".join(str(label) for label in self.labels or ()) or "none"
            each = " ".join(f"{probability:.4f}" for probability in self.probabilities)
            return f"labels {yes}  probabilities {each}"
        return f"outputs {' '.join(f'{number:g}' for number in self.outputs or ())}"


def predict_samples(
    runtime: Runtime, weights: Parameters, x: NDArray[np.float32], loss: LossSpec
) -> list[Prediction]:
    """A prediction for each of x, float32 `(samples, *shape)`.

    Probabilities are softmax(z)_k for classes, and sigmoid(z_k) where each output is yes or no.
    Raises OperationError when the runtime fails.
    """
    found = list[Prediction]()
    for start in range(0, len(x), _BATCH):
        outputs = runtime.predict(weights, x[start : start + _BATCH]).astype(np.float64)
        found += [_prediction(row, loss) for row in outputs]
    return found


def _prediction(z: NDArray[np.float64], loss: LossSpec) -> Prediction:
    if loss.has_classes:
        shares = np.exp(z - z.max())
        label = int(z.argmax())
        return Prediction(label=label, probability=float(shares[label] / shares.sum()))
    if loss.kind is LossKind.BINARY_CROSS_ENTROPY:
        shares = np.exp(-np.logaddexp(0, -z))
        yes = tuple(int(k) for k in np.flatnonzero(z > 0))
        return Prediction(labels=yes, probabilities=tuple(float(p) for p in shares))
    return Prediction(outputs=tuple(float(number) for number in z))
