"""Updates that come late: how much they count, and how they count towards a newer model.

FedBuff (Nguyen et al. 2022, Federated Learning with Buffered Asynchronous Aggregation): an update
x_i that was trained from an older model S_v contributes its step, weighed by how late it is,

    x_i' = S_r + s(t) (x_i - S_v)        s(t) = (1 + t) ** -a,  t = r - v,  a = 1/2 by default

in a round that began with S_r. Written so, it is an update of the round like any other: the mean of
x_i' is S_r + mean of s(t_i) step_i, which is FedBuff with a server learning rate of 1, and robust
rules see points that can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ProtocolError, RejectReason

__all__ = ["Staleness", "staleness_weight"]


def staleness_weight(rounds: int, exponent: float) -> float:
    """s(t) for an update that is so many rounds late: 1 for none."""
    return float((1 + rounds) ** -exponent)


@dataclass(frozen=True, eq=False)
class Staleness:
    """What brings a late update to the open round."""

    rounds: int
    """How many rounds late it is, 1 or more."""
    weight: float
    """s(t)."""
    model: NDArray[np.float32]
    """The model that the open round began with, `(parameters,)`."""

    def rebase(
        self, numbers: NDArray[np.floating], base: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """x_i' as a new vector `(parameters,)` float32.

        `numbers` are what came: x_i as float32, or x_i - S_v as float16; `base` is S_v. Raises
        ProtocolError when what comes out is beyond float32.
        """
        halves = numbers.dtype == np.float16
        vector = numbers.astype(np.float32) if halves else np.asarray(numbers - base)
        vector *= np.float32(self.weight)
        vector += self.model
        if not np.isfinite(vector).all():
            raise ProtocolError(RejectReason.NOT_FINITE, "too far from the model of today")
        return vector
