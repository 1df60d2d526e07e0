"""`mean` and `std` as a TOML file gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

__all__ = ["Numbers", "check_scaling", "spread"]

Numbers = float | tuple[float, ...]
"""One number for all, or one for each."""


def check_scaling(table: str, mean: Numbers, std: Numbers) -> None:
    """ConfigurationError, naming the table, for numbers that nothing can be scaled by."""
    for key, numbers in (("mean", mean), ("std", std)):
        each = numbers if isinstance(numbers, Sequence) else (numbers,)
        if not each or not all(map(math.isfinite, each)):
            raise ConfigurationError(f"{table} {key} = {numbers} (want one finite number or more)")
        if key == "std" and not all(number > 0 for number in each):
            raise ConfigurationError(f"{table} std = {numbers} (want numbers above 0)")


def spread(table: str, key: str, numbers: Numbers, count: int, what: str) -> NDArray[np.float64]:
    """`(count,)`; ConfigurationError where there are neither one number nor so many."""
    array = np.atleast_1d(np.asarray(numbers, np.float64))
    if len(array) not in (1, count):
        raise ConfigurationError(
            f"{table} {key} has {len(array)} numbers; want one, or one for each of {count} {what}"
        )
    return np.broadcast_to(array, (count,))
