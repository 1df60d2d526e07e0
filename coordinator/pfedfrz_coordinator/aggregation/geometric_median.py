"""The geometric median: the point with the smallest sum of distances to all updates."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .attackers import Attackers
from .round_updates import RoundUpdates

__all__ = ["GeometricMedian"]

_SMOOTHING = 1e-6
"""nu as a share of the median distance from the coordinate-wise median, at any scale."""
_ROUNDING = 1e-9
_SETTLED = 1e-12
"""No share moves by more than this: the iteration has arrived."""


class GeometricMedian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """argmin_z sum_i |x_i - z|, by the smoothed Weiszfeld iteration.

    z <- sum_i w_i x_i / sum_i w_i with w_i = 1 / max(nu, |x_i - z|). Source: Pillutla et al. 2022,
    Robust Aggregation for Federated Learning. Stands f < n/2 attackers:
    |z - s| <= 2 (n - f) / (n - 2f) max_honest |x_i - s| for every point s (Minsker 2015).

    All iterates are weighted means of the updates, so that they are weights and cost (n, n)
    matrices, not passes over the updates. It starts at the update with the smallest sum and by the
    step of Vardi and Zhang 2000 (The multivariate L1-median and associated data depth), which says
    whether an update is itself the geometric median: towards such a point the plain iteration
    creeps, and from the mean, as in the paper, one update of 1e38 takes hundreds of steps to come
    back from. Sample counts, which devices state themselves, are ignored.
    """

    name: ClassVar[str] = "geometric-median"
    attackers: Attackers = 0
    """Not needed; when it is given, too small a fleet is refused."""
    iterations: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """At most so many; it ends when it has arrived."""

    @property
    def fewest_clients(self) -> int:
        """n > 2f."""
        return 2 * self.attackers + 1

    def tolerates(self, clients: int) -> int:
        """Fewer than half."""
        return (clients - 1) // 2

    def combine(self, updates: RoundUpdates) -> NDArray[np.float32]:
        """The geometric median, `(parameters,)` float32."""
        return updates.weighted_sum(self._shares(updates.gram, updates.squared_distances))

    def _shares(
        self, gram: NDArray[np.float64], squared_distances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The weights `(clients,)`, sum 1, that make the geometric median."""
        squares = np.diagonal(gram)
        radii = np.sqrt(squares)
        smallest = _SMOOTHING * np.median(radii)
        if smallest == 0:
            # Half of the updates or more are one point, and no point has a smaller sum.
            together = radii == 0
            return np.asarray(together / np.count_nonzero(together))
        between = np.sqrt(squared_distances)
        # Sums of |x_i - x_k| - |x_i - c| by their squares: beside an update of 1e38 the sums
        # themselves have no digit left for the others.
        sides = between + radii[:, None]
        longer = np.divide(squares - 2 * gram, sides, out=np.zeros_like(gram), where=sides > 0)
        best = int(longer.sum(axis=0).argmin())
        together = between[best] <= smallest
        copies = int(np.count_nonzero(together))
        own = together / copies
        pulls = np.divide(1, between[best], out=np.zeros(len(gram)), where=~together)
        # |sum_i (x_i - x_best) / |x_i - x_best||, against as many as are at that point.
        total, products = pulls.sum(), gram @ pulls
        squared = pulls @ products - total * (2 * products[best] - total * squares[best])
        pull = math.sqrt(max(0.0, float(squared)))
        if pull <= copies * (1 + _ROUNDING):
            return np.asarray(own)
        stays = copies / pull
        shares = stays * own + (1 - stays) * pulls / total
        for _ in range(self.iterations):
            products = gram @ shares
            squared = squares - 2 * products + shares @ products
            pulls = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)), smallest)
            previous, shares = shares, pulls / pulls.sum()
            if np.abs(shares - previous).max() <= _SETTLED:
                break
        return np.asarray(shares)
