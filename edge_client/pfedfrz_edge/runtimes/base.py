"""The gradient contract: what every runtime offers, and nothing more.

A runtime computes gradients; the device owns the weights. Freezing is the choice of a graph, never
a flag on a tensor, so the same `{name: array}` serves every trainable set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, Parameters, TrainableSet

__all__ = [
    "FeatureRuntime",
    "Labels",
    "PlacedRuntime",
    "Runtime",
    "RuntimeMissing",
    "StepResult",
    "device_of",
]

Labels = NDArray[Any]
"""int64 `(batch,)`, or float32 `(batch, outputs)`: what the loss of the bundle wants."""


class RuntimeMissing(ConfigurationError):
    """What a runtime needs is not installed here, or something else is in its place."""


@dataclass(frozen=True)
class StepResult:
    """What one batch says: its weighted mean loss, its weighted hits, and the gradients."""

    loss: float
    """sum(w_i l_i) / sum(w_i), l_i the loss of sample i (see pfedfrz_protocol.loss)."""
    correct: float
    """sum(w_i hits_i); by class labels a hit is argmax_i == y_i, the first index wins a tie."""
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
        y: Labels,
        weight: NDArray[np.float32],
    ) -> StepResult:
        """Loss, hits and gradients on one batch; no argument is changed.

        `parameters` holds every parameter of the model, x is `(batch, *shape) float32`, y is
        `(batch,) int64`, or `(batch, classes) float32` where the bundle's loss wants numbers,
        weight is `(batch,) float32`, none negative and not all zero.
        """

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Logits, `(batch, classes) float32`, of x, `(batch, *shape) float32`."""


@runtime_checkable
class PlacedRuntime(Protocol):
    """A runtime that computes on one of several devices."""

    @property
    def device(self) -> object:
        """Which one; as text `cpu`, `cuda` or `cuda:1`."""


def device_of(runtime: Runtime) -> str:
    """What a runtime computes on: `cpu`, `cuda` or `cuda:1`."""
    return str(runtime.device) if isinstance(runtime, PlacedRuntime) else "cpu"


@runtime_checkable
class FeatureRuntime(Runtime, Protocol):
    """A runtime that can also run what comes before everything trained alone, once for a phase.

    It is never needed: `gradients` returns the same. Offering it is up to each runtime.
    """

    def feature_shapes(self, trainable: TrainableSet) -> tuple[tuple[int, ...], ...]:
        """The shapes of one sample's features; none where the set has no such part."""

    def features(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], ...]:
        """The features of x, each `(batch, *shape) float32`.

        They depend on frozen parameters alone and, sample by sample, on x alone.
        """

    def gradients_from_features(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        features: Sequence[NDArray[np.float32]],
        x: NDArray[np.float32],
        y: Labels,
        weight: NDArray[np.float32],
    ) -> StepResult:
        """What `gradients` returns for the samples whose features these are."""
