"""The updates of one round as rules see them: passes over blocks, never all in memory.

A rule that compares whole updates works on their Gram matrix G about a centre c,
G_ij = <x_i - c, x_j - c>, `(clients, clients)` float64, which one pass gathers. Distances follow,
and so does everything about points z = sum_i w_i x_i with sum_i w_i = 1:
|x_i - z|^2 = G_ii - 2 (G w)_i + w.G w. One more pass makes the result.

The centre matters. About the origin, the mean or any single update, one huge update leaves nothing
of the honest ones' differences in 53 bits. c is the coordinate-wise median, which fewer than half
of the clients cannot push away. Squares of float32 are far inside the range of float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..cores import available_cores
from .ordering import middle
from .rows import MixedRows, UpdateRows

__all__ = ["BLOCK_BYTES", "RoundUpdates"]

BLOCK_BYTES = 16 << 20
_NUMBERS_WORTH_A_THREAD = 1 << 20
"""With fewer a thread takes longer to start than it saves."""
_NUMBERS_AT_ONCE = 16_384
"""So many stay in the processor's cache between two steps."""


@dataclass(frozen=True, eq=False)
class RoundUpdates:
    """What a rule is given; it changes none of it."""

    rows: UpdateRows
    weights: NDArray[np.float64]
    """`(clients,)`: sample counts as devices state them. Robust rules ignore them."""
    reference: NDArray[np.float32] | None = None
    """`(parameters,)`: the model that the round started from."""
    seed: int = 0
    """Of the round's random draws."""
    block_bytes: int = BLOCK_BYTES
    """Of updates that are read at once; a pass needs a small multiple of it."""
    mixed_from: RoundUpdates | None = None
    """The updates that these are mixtures of."""

    @property
    def clients(self) -> int:
        """How many updates there are."""
        return self.rows.clients

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All columns once: where they are, and the block `(clients, columns)`."""
        for columns in self._columns():
            yield columns, self.rows.block(columns.start, columns.stop)

    def _columns(self, at_once: int = 1) -> list[slice]:
        """Where the blocks are, of which `at_once` together have `block_bytes` at most."""
        parameters = self.rows.parameters
        width = max(1, self.block_bytes // (4 * self._clients_read * at_once))
        if at_once > 1:
            # As much for one thread as for the other.
            turns = -(-parameters // (width * at_once))
            width = -(-parameters // (turns * at_once))
        return [
            slice(start, min(start + width, parameters)) for start in range(0, parameters, width)
        ]

    @property
    def _clients_read(self) -> int:
        """How many rows are in memory at once: mixtures may be fewer than what they are made of."""
        return max(self.clients, self.mixed_from._clients_read if self.mixed_from else 0)

    def by_coordinate(
        self, combine: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    ) -> NDArray[np.float32]:
        """`combine` of every block, `(parameters,)` float32.

        It makes `(columns,)` float64 of `(clients, columns)`, each column by itself; several
        threads call it at once, as numpy lets others compute while it does.
        """
        result = np.empty(self.rows.parameters, np.float32)

        def make(columns: slice) -> None:
            result[columns] = combine(self.rows.block(columns.start, columns.stop))

        threads = self._threads()
        _in_threads(make, self._columns(threads), threads)
        return result

    def _threads(self) -> int:
        numbers = self._clients_read * self.rows.parameters
        return max(1, min(available_cores(), numbers // _NUMBERS_WORTH_A_THREAD))

    def weighted_sum(self, shares: NDArray[np.float64]) -> NDArray[np.float32]:
        """sum_i w_i x_i for shares `(clients,)` float64: `(parameters,)` float32.

        A client without a share is not touched: whatever it sent, it changes no bit. One update
        after the other is read, each thread its stretch of it in one go: a block of all updates
        would be narrow when they are many, and thousands of short reads are slow.
        """
        if self.mixed_from is not None and isinstance(self.rows, MixedRows):
            return self.mixed_from.weighted_sum(shares @ self.rows.mixing)
        parameters = self.rows.parameters
        result = np.empty(parameters, np.float32)
        used = np.flatnonzero(shares)

        def make(columns: slice) -> None:
            total = np.zeros(columns.stop - columns.start, np.float64)
            term = np.empty(min(_NUMBERS_AT_ONCE, len(total)), np.float64)
            for client in used:
                row = self.rows.row(int(client), columns.start, columns.stop)
                for start in range(0, len(row), _NUMBERS_AT_ONCE):
                    some = row[start : start + _NUMBERS_AT_ONCE]
                    product = term[: len(some)]
                    np.multiply(some, shares[client], out=product, dtype=np.float64)
                    total[start : start + len(some)] += product
            result[columns] = total

        threads = self._threads()
        # A stretch needs 12 bytes a column here, and those of all threads are held at once.
        width = max(1, self.block_bytes // (12 * threads))
        turns = -(-parameters // (width * threads))
        width = -(-parameters // (turns * threads))
        stretches = [
            slice(start, min(start + width, parameters)) for start in range(0, parameters, width)
        ]
        _in_threads(make, stretches, threads)
        return result

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """The Gram matrix about the coordinate-wise median, `(clients, clients)` float64."""
        if self.mixed_from is not None and isinstance(self.rows, MixedRows):
            # Mixtures have the sum 1, so they have their differences from the same centre.
            gram = self.rows.mixing @ self.mixed_from.gram @ self.rows.mixing.T
            return np.asarray((gram + gram.T) / 2)
        gram = np.zeros((self.clients, self.clients), np.float64)
        for _, block in self.blocks():
            centred = block - middle(np.sort(block, axis=0))
            gram += centred @ centred.T
        if not np.isfinite(gram).all():
            raise ValueError("updates that are not finite must be rejected before aggregation")
        return gram

    @cached_property
    def squared_distances(self) -> NDArray[np.float64]:
        """|x_i - x_j|^2, `(clients, clients)` float64."""
        squares = np.diagonal(self.gram)
        distances = squares[:, None] + squares[None, :] - 2 * self.gram
        np.maximum(distances, 0, out=distances)
        np.fill_diagonal(distances, 0)
        return np.asarray(distances)

    def distances_from(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """|x_i - point| for a point `(parameters,)` float64: `(clients,)` float64."""
        squares = np.zeros(self.clients, np.float64)
        for columns, block in self.blocks():
            difference = np.empty(block.shape[1], np.float64)
            for client, row in enumerate(block):
                np.subtract(row, point[columns], out=difference)
                squares[client] += difference @ difference
        return np.sqrt(squares)

    def mixed(self, mixing: NDArray[np.float64]) -> RoundUpdates:
        """The mixtures Y = M X as updates, all of one weight; see MixedRows."""
        return replace(
            self,
            rows=MixedRows(self.rows, mixing),
            weights=np.ones(len(mixing)),
            mixed_from=self,
        )


def _in_threads(make: Callable[[slice], None], columns: list[slice], threads: int) -> None:
    if threads == 1:
        for each in columns:
            make(each)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(make, columns):
            pass  # raises what went wrong
