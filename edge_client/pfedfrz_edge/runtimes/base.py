"""The gradient contract: what every runtime offers, and nothing more.

A runtime computes gradients; the device owns the weights. Freezing is the choice of a graph, never
a flag on a tensor, so the same `{name: array}` serves every trainable set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, Parameters, TrainableSet

__all__ = ["Runtime", "RuntimeMissing", "StepResult"]


class RuntimeMissing(ConfigurationError):
    """What a runtime needs is not installed here, or something else is in its place."""


@dataclass(frozen=True)
class StepResult:
    """What one batch says: its weighted mean loss, its weighted hits, and the gradients."""

    loss: float
    """sum(w_i l_i) / sum(w_i), l_i the cross entropy of sample i in nats."""
    correct: float
    """sum(w_i [argmax_i == y_i]); the first index wins where logits tie."""
    gradients: Parameters
    """d loss / d parameter, for the parameters of the trainable set and no others."""


class Runtime(Protocol):
    """Computes gradients and logits from weights that it is handed with every call."""

    @property
    def name(self) -> str:
        """The runtime's name in a bundle's manifest."""

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        """Loss, hits and gradients on one batch; no argument is changed.

        `parameters` holds every parameter of the model, x is `(batch, *shape) float32`, y is
        `(batch,) int64`, weight is `(batch,) float32`, none negative and not all zero.
        """

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Logits, `(batch, classes) float32`, of x, `(batch, *shape) float32`."""
