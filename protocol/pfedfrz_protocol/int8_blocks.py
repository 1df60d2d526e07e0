"""Differences in 8 bits: blocks of 4096 numbers, each with a scale of its own.

    scale_b = max |d_i| / 127 over the block        q_i = round(d_i / scale_b)

What comes back is float16(q_i * scale_b): a coarser way of writing the differences of
`delta-float16`, a quarter of the bytes of float32 before compression. The largest error in a block
is half its scale; who sends should keep that error and add it to the next difference (error
feedback: Seide et al. 2014; Karimireddy et al. 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INT8_BLOCK", "dequantize", "quantize", "scales_for"]

INT8_BLOCK = 4096
_LEVELS = 127


def scales_for(numbers: int) -> int:
    """How many scales so many numbers have."""
    return -(-numbers // INT8_BLOCK)


def quantize(
    difference: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(q, scales) of finite differences `(n,)` float32: `(n,)` int8, `(scales_for(n),)` float32."""
    count = scales_for(len(difference))
    padded = np.zeros(count * INT8_BLOCK, np.float32)
    padded[: len(difference)] = difference
    blocks = padded.reshape(count, INT8_BLOCK)
    scales = np.abs(blocks).max(axis=1, initial=0) / np.float32(_LEVELS)
    # A block of nothing but zeros, or of numbers that float32 can hardly tell from it.
    divisors = np.where(scales > 0, scales, np.float32(1))
    levels = np.clip(np.rint(blocks / divisors[:, None]), -_LEVELS, _LEVELS)
    return levels.astype(np.int8).ravel()[: len(difference)], scales.astype(np.float32)


def dequantize(q: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float16]:
    """The differences `(n,)` float16 that q and scales stand for.

    A scale that is not finite, or too large for float16, gives numbers that are not finite.
    """
    spread = np.repeat(scales, INT8_BLOCK)[: len(q)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((q * spread).astype(np.float16))
