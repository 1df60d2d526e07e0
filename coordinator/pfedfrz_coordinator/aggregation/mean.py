"""The weighted mean: FedAvg's rule (McMahan et al. 2017). One attacker can move it anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean:
    """sum_i n_i S_i / sum_i n_i, summed in float64."""

    name: str = "mean"

    def tolerates(self, clients: int) -> int:
        """No attacker at all."""
        return 0

    def combine(
        self, updates: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The mean of `updates` `(clients, parameters)` weighted by samples, float32."""
        total = np.zeros(updates.shape[1], np.float64)
        for update, weight in zip(updates, weights, strict=True):
            total += weight * update
        mean: NDArray[np.float32] = (total / weights.sum()).astype(np.float32)
        return mean
