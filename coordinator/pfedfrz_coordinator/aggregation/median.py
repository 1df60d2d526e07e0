"""The coordinate-wise median (Yin et al. 2018): robust while attackers are fewer than half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Median"]


@dataclass(frozen=True)
class Median:
    """median_i S_i in every coordinate; sample counts, which a device states itself, are ignored.

    With f < n/2 attackers every coordinate stays between two honest values.
    """

    name: str = "median"

    def tolerates(self, clients: int) -> int:
        """Fewer than half."""
        return (clients - 1) // 2

    def combine(
        self, updates: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The median of `updates` `(clients, parameters)` over clients, float32."""
        ordered = np.sort(updates, axis=0)
        low, high = (len(ordered) - 1) // 2, len(ordered) // 2
        # In float64: two large float32 of one sign must not overflow when they are added.
        median = ordered[[low, high]].mean(axis=0, dtype=np.float64)
        return np.asarray(median, np.float32)
