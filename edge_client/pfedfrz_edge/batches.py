"""The order of samples, reproducible from names and numbers alone.

A fleet over MQTT, a study in one process and an independent check must draw the same batches, so
the order depends on nothing but what is written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["epoch_batches", "epoch_order"]


def epoch_order(
    seed: int, device: str, round_number: int, phase: str, epoch: int, samples: int
) -> NDArray[np.int64]:
    """A permutation of range(samples), int64, fixed by the other arguments."""
    key = f"{seed}/{device}/{round_number}/{phase}/{epoch}".encode()
    entropy = int.from_bytes(hashlib.sha256(key).digest(), "big")
    return np.random.default_rng(entropy).permutation(samples).astype(np.int64)


def epoch_batches(order: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The order cut into batches; the last one may be smaller."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
