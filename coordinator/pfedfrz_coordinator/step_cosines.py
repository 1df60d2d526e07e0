"""Which way each update of a round pulls, against the way that the model went.

    c_i = <x_i - S, S' - S> / (|x_i - S| |S' - S|)

with the updates x_i, the model S that the round began with and the model S' that it made. An honest
update has some positive cosine, a small one where the data of devices differ; one that pulls
against the others is below 0. For a late update x_i is what it counts as, which has the direction
of its own step (`staleness.py`).

What it costs may not grow to what the model itself costs. Of a model with more than 16,384
parameters one run of 64 neighbours in every k is looked at, k being the fewest that leave no more
than that: the cosine is then an estimate with a standard error of about 0.008. Which runs follows
from S', so that nobody who sends an update can know it, and the same updates give the same numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .cores import available_cores
from .update_store import StoredUpdates

__all__ = ["step_cosines"]

_MOST_LOOKED_AT = 16_384
"""Numbers of one update."""
_RUN = 64
"""Neighbours in a run: more than a convolution's kernel, so that no place in it is preferred."""
_READ_AT_ONCE = 1 << 20
"""Numbers, about."""
_WORTH_A_THREAD = 1 << 20
"""With fewer numbers a thread takes longer to start than it saves."""
_Number = TypeVar("_Number", bound=np.floating)
with np.errstate(invalid="ignore"):  # arm64 tells of the signalling NaNs among them
    _HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""The value of every float16 by its bits: looking up is quicker than numpy's conversion."""


def step_cosines(
    updates: StoredUpdates, base: NDArray[np.float32], model: NDArray[np.float32]
) -> list[float | None]:
    """c_i of every update, -1 to 1; None where a step has no length, or none that is finite.

    `base` and `model` `(parameters,)` float32 are S and S'. One pass over the updates, some columns
    of one at a time; sums are float64, in an order that the number of threads does not change.
    OperationError when an update cannot be read.
    """
    every = max(1, -(-updates.parameters // _MOST_LOOKED_AT))
    digest = hashlib.sha256(model.view(np.uint8).data).digest()
    look = _Look(updates, base, every, int.from_bytes(digest[:8], "big") % every)
    step = np.concatenate([np.empty(0), *(look.step_of(model, *ends) for ends in look.stretches())])
    length = math.sqrt(float(np.dot(step, step)))
    if not (length > 0 and math.isfinite(length)):
        return [None] * updates.clients

    def cosine(client: int) -> float | None:
        product, square = look.products(client, step)
        if not (square > 0 and math.isfinite(square)):
            return None
        return max(-1.0, min(1.0, product / math.sqrt(square) / length))

    worth = updates.clients * len(step) // _WORTH_A_THREAD
    threads = max(1, min(available_cores(), worth))
    if threads == 1:
        return [cosine(client) for client in range(updates.clients)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(cosine, range(updates.clients)))


@dataclass(frozen=True, eq=False)
class _Look:
    """One run in `every` of the updates of a round."""

    updates: StoredUpdates
    base: NDArray[np.float32]
    every: int
    which: int
    """Of so many runs, 0 to `every` - 1."""

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Where the stretches begin and end that are read at once; all but the last are whole."""
        group = _RUN * self.every
        width = group * max(1, _READ_AT_ONCE // group)
        for start in range(0, self.updates.parameters, width):
            yield start, min(start + width, self.updates.parameters)

    def products(self, client: int, step: NDArray[np.float64]) -> tuple[float, float]:
        """<x_i - S, S' - S> and |x_i - S|^2 of what is looked at."""
        product = square = 0.0
        place = 0
        for start, stop in self.stretches():
            numbers = self._runs(self.updates.as_kept(client, start, stop))
            if numbers.dtype == np.float16:
                # No index can be out of bounds; with "raise" numpy would make a copy first.
                own = np.take(_HALVES, numbers.view(np.uint16).astype(np.intp), mode="clip")
            else:
                own = np.subtract(numbers, self._runs(self.base[start:stop]), dtype=np.float64)
            product += float(np.dot(own, step[place : place + len(own)]))
            square += float(np.dot(own, own))
            place += len(own)
        return product, square

    def step_of(self, model: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float64]:
        """model - S of what is looked at, float64."""
        here = slice(start, stop)
        return np.subtract(self._runs(model[here]), self._runs(self.base[here]), dtype=np.float64)

    def _runs(self, numbers: NDArray[_Number]) -> NDArray[_Number]:
        """Those of a stretch that are looked at."""
        if self.every == 1:
            return numbers
        group = _RUN * self.every
        whole = len(numbers) // group * group
        runs = numbers[:whole].reshape(-1, self.every, _RUN)[:, self.which].ravel()
        begin = whole + self.which * _RUN
        return np.concatenate([runs, numbers[begin : begin + _RUN]])
