"""Tensors in safetensors form as one vector, and arithmetic on float16 numbers by their bits.

A coordinator that takes in a thousand updates a round works on vectors. The header of a safetensors
file is a function of names, shapes and dtype, so a body whose header is the one that this layout
gives holds its numbers at known places, and they are read where they lie. Any other header goes
the general way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from .partition import TensorSpec

__all__ = ["FlatForm", "add_halves", "flat_form", "halves_square"]

_BLOCK = 32_768
"""Numbers handled at once: what lies between two steps stays in the processor's cache, and a step
is long enough that threads which work beside each other seldom wait for the interpreter."""
with np.errstate(invalid="ignore"):  # arm64 tells of the signalling NaNs among them
    _HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The value of every float16 by its bits: looking up is twice as quick as numpy's conversion."""


@dataclass(frozen=True)
class FlatForm:
    """Where the numbers of a layout are in its safetensors form of one dtype."""

    header: bytes
    pieces: tuple[slice, ...]
    """Of the numbers behind the header, in the layout's order, neighbours joined."""
    numbers: int

    def find(
        self, decoded: NDArray[np.uint8], dtype: np.dtype[np.generic]
    ) -> list[NDArray[np.floating]] | None:
        """The pieces in the layout's order, as views; None when the bytes have another form."""
        start = len(self.header)
        if len(decoded) != start + self.numbers * dtype.itemsize:
            return None
        if decoded[:start].tobytes() != self.header:
            return None
        numbers = decoded[start:].view(dtype)
        return [numbers[piece] for piece in self.pieces]


@lru_cache(maxsize=16)
def flat_form(layout: tuple[TensorSpec, ...], dtype: np.dtype[np.generic]) -> FlatForm:
    """The form that equal names, shapes and dtype always have."""
    zeros = {spec.name: np.zeros(spec.shape, dtype) for spec in layout}
    encoded = safetensors.numpy.save(zeros)
    end = 8 + int.from_bytes(encoded[:8], "little")
    places = json.loads(encoded[8:end])
    pieces: list[slice] = []
    for spec in layout:
        first, last = (offset // dtype.itemsize for offset in places[spec.name]["data_offsets"])
        if pieces and pieces[-1].stop == first:
            pieces[-1] = slice(pieces[-1].start, last)
        else:
            pieces.append(slice(first, last))
    return FlatForm(encoded[:end], tuple(pieces), sum(spec.elements for spec in layout))


def add_halves(
    base: NDArray[np.float32], halves: NDArray[np.uint16], out: NDArray[np.float32]
) -> None:
    """`out` = base + halves, where these are the bits of float16 numbers.

    A sum beyond float32 is infinite, and no warning: values are judged by who knows the sender.
    """
    places = np.empty(_BLOCK, np.intp)
    for start in range(0, len(halves), _BLOCK):
        bits = halves[start : start + _BLOCK]
        block, place = out[start : start + len(bits)], places[: len(bits)]
        place[:] = bits
        # No index can be out of bounds; with "raise" numpy would make a copy first.
        np.take(_HALVES, place, out=block, mode="clip")
        with np.errstate(over="ignore", invalid="ignore"):
            np.add(base[start : start + len(bits)], block, out=block)


def halves_square(halves: NDArray[np.uint16]) -> float:
    """The sum of the squares of float16 numbers by their bits; not finite if one of them is not."""
    places, values = np.empty(_BLOCK, np.intp), np.empty(_BLOCK, np.float32)
    square = 0.0
    for start in range(0, len(halves), _BLOCK):
        bits = halves[start : start + _BLOCK]
        place, value = places[: len(bits)], values[: len(bits)]
        place[:] = bits
        np.take(_HALVES, place, out=value, mode="clip")
        # At most 65,504 each: the sum of a block's squares is far inside of float32's range.
        square += float(np.dot(value, value))
    return square
