"""The shared group as one vector, and back: what aggregation works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import Parameters, TensorSpec

__all__ = ["flatten", "unflatten"]


def flatten(
    tensors: Mapping[str, NDArray[np.float32]], layout: Sequence[TensorSpec]
) -> NDArray[np.float32]:
    """All tensors of the layout, in its order, as one new float32 vector `(parameters,)`."""
    parts = [tensors[spec.name].ravel() for spec in layout]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def unflatten(vector: NDArray[np.float32], layout: Sequence[TensorSpec]) -> Parameters:
    """The tensors in a vector that `flatten` made; new arrays."""
    tensors: Parameters = {}
    start = 0
    for spec in layout:
        end = start + spec.elements
        tensors[spec.name] = vector[start:end].reshape(spec.shape).copy()
        start = end
    return tensors
