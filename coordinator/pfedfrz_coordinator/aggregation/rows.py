"""Whole updates, wherever they are, read some columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Differences", "MixedRows", "UpdateRows", "UpdatesInMemory"]

_FEW = 8
"""Up to so many rows in a mixture on average, adding them up is quicker than a matrix product."""


class UpdateRows(Protocol):
    """Updates of one round: one row a client, one column a parameter."""

    @property
    def clients(self) -> int:
        """How many there are."""

    @property
    def parameters(self) -> int:
        """How long each one is."""

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """The columns `start` to `stop` of all updates, `(clients, stop - start)` float32.

        It may be a view of what the updates are kept in: nobody writes into it.
        """

    def row(self, client: int, start: int, stop: int) -> NDArray[np.float32]:
        """The same columns of one update, `(stop - start,)` float32, perhaps a view."""


@runtime_checkable
class Differences(Protocol):
    """Updates that can also be read as what came over the wire."""

    @property
    def parameters(self) -> int:
        """How long each one is."""

    def difference(self, client: int) -> NDArray[np.float16]:
        """One update as its difference to the round's model, `(parameters,)` float16."""


@dataclass(frozen=True, eq=False)
class UpdatesInMemory:
    """Updates `(clients, parameters)` float32 that are in memory anyway."""

    updates: NDArray[np.float32]

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self.updates)

    @property
    def parameters(self) -> int:
        """How long each one is."""
        return int(self.updates.shape[1])

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """A view of the columns."""
        return self.updates[:, start:stop]

    def row(self, client: int, start: int, stop: int) -> NDArray[np.float32]:
        """A view of the columns of one update."""
        row: NDArray[np.float32] = self.updates[client, start:stop]
        return row


@dataclass(frozen=True, eq=False)
class MixedRows:
    """Weighted means of other rows: Y = M X, made block by block when they are read."""

    source: UpdateRows
    mixing: NDArray[np.float64]
    """`(rows, clients of the source)`, no entry negative, every row with the sum 1."""

    @property
    def clients(self) -> int:
        """How many mixtures there are."""
        return len(self.mixing)

    @property
    def parameters(self) -> int:
        """How long each one is."""
        return self.source.parameters

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """New mixtures of the columns; float64 inside, so that nothing overflows."""
        block = self.source.block(start, stop)
        if np.count_nonzero(self.mixing) > _FEW * len(self.mixing):
            return (self.mixing @ block.astype(np.float64)).astype(np.float32)
        mixed = np.empty((len(self.mixing), stop - start), np.float32)
        for row, shares in zip(mixed, self.mixing, strict=True):
            row[:] = sum(
                shares[index] * block[index].astype(np.float64) for index in np.flatnonzero(shares)
            )
        return mixed

    def row(self, client: int, start: int, stop: int) -> NDArray[np.float32]:
        """A new mixture of the columns."""
        only = MixedRows(self.source, self.mixing[client : client + 1])
        row: NDArray[np.float32] = only.block(start, stop)[0]
        return row
