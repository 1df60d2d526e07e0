"""What an aggregation rule is, and how one is applied in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AggregationRule", "aggregate"]

BLOCK_BYTES = 32 << 20


class AggregationRule(Protocol):
    """A coordinate-wise rule: each parameter of the result depends on that parameter alone.

    Rules are pure and never change their input.
    """

    @property
    def name(self) -> str:
        """The name in configuration files."""

    def tolerates(self, clients: int) -> int:
        """How many attackers among `clients` the rule stands."""

    def combine(
        self, updates: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The combination `(parameters,)` float32 of updates `(clients, parameters)` float32.

        `weights` `(clients,)` float64 are positive sample counts; a rule may ignore them.
        """


def aggregate(
    rule: AggregationRule,
    updates: Sequence[NDArray[np.float32]],
    weights: Sequence[float],
    *,
    block_bytes: int = BLOCK_BYTES,
) -> NDArray[np.float32]:
    """The rule applied to whole updates, each `(parameters,)` float32, in blocks of parameters.

    The updates may be memory-mapped files: at any time only `block_bytes` of them are in memory,
    whatever the number of clients. The result depends on the order of `updates` only as far as
    the rule's rounding does, so callers pass them in a fixed order.
    """
    if not updates:
        raise ValueError("nothing to aggregate")
    share = np.asarray(weights, np.float64)
    parameters = len(updates[0])
    result = np.empty(parameters, np.float32)
    width = max(1, block_bytes // (4 * len(updates)))
    for start in range(0, parameters, width):
        block = np.stack([update[start : start + width] for update in updates])
        result[start : start + width] = rule.combine(block, share)
    return result
