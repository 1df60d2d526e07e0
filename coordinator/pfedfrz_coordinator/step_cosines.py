"""Which way each update of a round pulls, against the way that the others pull together.

    c_i = <x_i - S, M - w_i (x_i - S)> / (|x_i - S| |M - w_i (x_i - S)|),   M = sum_i w_i (x_i - S)

with the updates x_i, the model S that the round began with, and weights w_i by sample counts. An
update's own part is taken out of the mean: among ten that have nothing in common each would
otherwise seem to agree with the rest, at 1 / sqrt(10), also one that does the opposite of what it
should. Whatever rule makes the model, it is the mean that an update is held against. For a late
update x_i is what it counts as, which has the direction of its own step (`staleness.py`).

What it costs may not grow to what the model itself costs. Of a model with more than 16,384
parameters one run of 64 neighbours in every k is looked at, k being the fewest that leave no more
than that: the cosine is then an estimate with a standard error of about 0.008. Which runs follows
from the model that was made, so that nobody who sends an update can know it, and the same updates
give the same numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
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
_ROUNDING = 1e-10
_Number = TypeVar("_Number", bound=np.floating)
with np.errstate(invalid="ignore"):  # arm64 tells of the signalling NaNs among them
    _HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""The value of every float16 by its bits: looking up is quicker than numpy's conversion."""


def step_cosines(
    updates: StoredUpdates,
    shares: Sequence[float],
    base: NDArray[np.float32],
    model: NDArray[np.float32],
    *,
    is_mean: bool,
) -> list[float | None]:
    """c_i of every update, -1 to 1; None where a step has no length, or none that is finite.

    `shares` are the weights w_i, which are 1 together with those of updates that are elsewhere;
    `base` and `model` `(parameters,)` float32 are S and what the round made. Where the model is the
    mean, M is its step and one pass over the updates is enough; otherwise M is made of them first.
    Some columns of one update at a time; sums are float64, in an order that the number of threads
    does not change. OperationError when an update cannot be read.
    """
    every = max(1, -(-updates.parameters // _MOST_LOOKED_AT))
    digest = hashlib.sha256(model.view(np.uint8).data).digest()
    look = _Look(updates, base, every, int.from_bytes(digest[:8], "big") % every)
    step = look.step_of(model) if is_mean else look.mean_step(shares)
    square_m = float(np.dot(step, step))

    def cosine(client: int) -> float | None:
        product, square = look.products(client, step)
        w = shares[client]
        # <x, M - w x> and |M - w x|^2: what the others have done, without looking at them again.
        against = product - w * square
        others = square_m - 2 * w * product + w * w * square
        # What is left of M where there are no others is rounding.
        if not (square > 0 and others > _ROUNDING * square_m and math.isfinite(square + others)):
            return None
        return max(-1.0, min(1.0, against / math.sqrt(square) / math.sqrt(others)))

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
        """<x_i - S, M> and |x_i - S|^2 of what is looked at."""
        product = square = 0.0
        place = 0
        for own in self.own(client):
            product += float(np.dot(own, step[place : place + len(own)]))
            square += float(np.dot(own, own))
            place += len(own)
        return product, square

    def step_of(self, model: NDArray[np.float32]) -> NDArray[np.float64]:
        """model - S of what is looked at, float64."""
        parts = [np.empty(0)]
        for start, stop in self.stretches():
            runs = self._runs(model[start:stop]), self._runs(self.base[start:stop])
            parts.append(np.subtract(*runs, dtype=np.float64))
        return np.concatenate(parts)

    def mean_step(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """sum_i w_i (x_i - S) of what is looked at, float64."""
        total = self.step_of(self.base)  # nothing yet
        for client, share in enumerate(shares):
            total += share * np.concatenate([np.empty(0), *self.own(client)])
        return total

    def own(self, client: int) -> Iterator[NDArray[np.float64]]:
        """x_i - S of what is looked at, stretch by stretch."""
        for start, stop in self.stretches():
            numbers = self._runs(self.updates.as_kept(client, start, stop))
            if numbers.dtype == np.float16:
                # No index can be out of bounds; with "raise" numpy would make a copy first.
                yield np.take(_HALVES, numbers.view(np.uint16).astype(np.intp), mode="clip")
            else:
                yield np.subtract(numbers, self._runs(self.base[start:stop]), dtype=np.float64)

    def _runs(self, numbers: NDArray[_Number]) -> NDArray[_Number]:
        """Those of a stretch that are looked at."""
        if self.every == 1:
            return numbers
        group = _RUN * self.every
        whole = len(numbers) // group * group
        runs = numbers[:whole].reshape(-1, self.every, _RUN)[:, self.which].ravel()
        begin = whole + self.which * _RUN
        return np.concatenate([runs, numbers[begin : begin + _RUN]])
