"""The weighted mean: FedAvg's rule (McMahan et al. 2017). One attacker can move it anywhere."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

from .exact_sum import ExactSum
from .round_updates import RoundUpdates
from .rows import Differences

__all__ = ["Mean", "exact_mean"]


def exact_mean(updates: RoundUpdates) -> NDArray[np.float32]:
    """base + sum_i n_i d_i / sum_i n_i with an exact sum; see ExactSum. Errors as for Mean."""
    rows, base = updates.rows, updates.reference
    if not isinstance(rows, Differences) or base is None:
        raise ConfigurationError(
            "mean:exact=true adds up differences as they came over the wire, which only a "
            "coordinator keeps, and nothing may come before it; take mean"
        )
    total = ExactSum(rows.parameters)
    for client, samples in enumerate(updates.weights):
        total.add(rows.difference(client), int(samples))
    return total.mean(base)


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sum_i n_i x_i / sum_i n_i with the sample counts n_i.

    Source: McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from
    Decentralized Data. Stands no attacker. It is the only rule that weighs by sample counts: a
    device states its own, so that they are one more thing for an attacker to lie about.
    """

    exact: bool = False
    """Add up float16 differences as integers, with workers or without: no order of updates, and no
    grouping of them, changes a bit. Updates must then be differences."""

    name: ClassVar[str] = "mean"
    attackers: ClassVar[int] = 0
    fewest_clients: ClassVar[int] = 1

    def tolerates(self, clients: int) -> int:
        """No attacker at all."""
        return 0

    def combine(self, updates: RoundUpdates) -> NDArray[np.float32]:
        """The weighted mean, `(parameters,)` float32.

        ConfigurationError when it shall be exact and the updates are not kept as differences.
        """
        if self.exact:
            return exact_mean(updates)
        return updates.weighted_sum(updates.weights / updates.weights.sum())
