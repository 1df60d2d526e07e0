"""Sums of float16 differences that are exact, so that partial sums in any order are the same bits.

Every finite float16 number is an integer times 2^-24, of at most 40 bits. So

    sum_i n_i d_i = 2^-24 * sum_i n_i m_i     with integers m_i, |m_i| < 2^40, and sample counts n_i

is a sum of integers, which no order and no grouping changes. It is kept in two int64 limbs, 31 bits
below and the rest above, with room for 2^53 samples in all: what an update adds to the upper limb
is below 2^9 n_i. The mean is rounded at the end only. Several processes may so each add up a share
of a round's updates, and whoever merges their sums gets the model that one process alone would
have made.

As bytes, a sum is the number of samples as u64, then the lower limbs as u32 and the upper ones as
i64, all little-endian: 12 bytes a parameter.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExactSum"]

_SCALE = 24
_LOW_BITS = 31
_LOW_MASK = (1 << _LOW_BITS) - 1
_MOST_SAMPLES = 1 << 30
_MOST_SAMPLES_IN_ALL = 1 << 53
_SAMPLES = struct.Struct("<Q")
_BYTES_EACH = 12


def _integers() -> NDArray[np.int64]:
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    values[~np.isfinite(values)] = 0  # refused before they are looked up
    return np.asarray(values * 2.0**_SCALE, np.int64)


_INTEGERS = _integers()
"""2^24 times the value of every float16 by its bits."""


class ExactSum:
    """sum_i n_i d_i of differences d_i `(parameters,)` float16, and sum_i n_i."""

    def __init__(self, parameters: int) -> None:
        self._low = np.zeros(parameters, np.int64)
        self._high = np.zeros(parameters, np.int64)
        self.samples = 0

    @property
    def parameters(self) -> int:
        """How long its updates are."""
        return len(self._low)

    def add(self, halves: NDArray[np.float16], samples: int) -> None:
        """Add an update; ValueError for another length, too many samples, or NaN and infinity."""
        if halves.shape != self._low.shape or not 1 <= samples < _MOST_SAMPLES:
            raise ValueError(f"an update of shape {halves.shape} with {samples} samples")
        if not np.isfinite(halves).all():
            raise ValueError("updates that are not finite must be rejected before they are added")
        self._check_room(samples)
        numbers = _INTEGERS[halves.view(np.uint16)]
        # In two parts before the product, which would not fit into 63 bits: 40 and 30 are 70.
        low = (numbers & _LOW_MASK) * samples
        high = (numbers >> _LOW_BITS) * samples
        self._carry(low, high)
        self.samples += samples

    def merge(self, other: ExactSum) -> None:
        """Add what another has added up; ValueError for another length or too many samples."""
        if other._low.shape != self._low.shape:
            raise ValueError(f"{len(other._low)} parameters, not {len(self._low)}")
        self._check_room(other.samples)
        self._carry(other._low, other._high)
        self.samples += other.samples

    def _check_room(self, samples: int) -> None:
        if self.samples + samples > _MOST_SAMPLES_IN_ALL:
            raise ValueError(f"more than {_MOST_SAMPLES_IN_ALL} samples in all")

    def _carry(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
        self._low += low
        self._high += high + (self._low >> _LOW_BITS)
        self._low &= _LOW_MASK

    @staticmethod
    def encoded_bytes(parameters: int) -> int:
        """How long the sum of updates of that length is as bytes."""
        return _SAMPLES.size + _BYTES_EACH * parameters

    def encode(self) -> bytes:
        """The sum as bytes."""
        low, high = self._low.astype("<u4"), self._high.astype("<i8")
        return _SAMPLES.pack(self.samples) + low.tobytes() + high.tobytes()

    @classmethod
    def decode(cls, data: bytes, parameters: int) -> ExactSum:
        """The sum in `data`; ValueError for bytes that no sum of that length encodes to."""
        if len(data) != cls.encoded_bytes(parameters):
            raise ValueError(f"{len(data)} bytes are no sum of {parameters} parameters")
        found = cls(parameters)
        (found.samples,) = _SAMPLES.unpack_from(data)
        place = _SAMPLES.size + 4 * parameters
        found._low[:] = np.frombuffer(data, "<u4", parameters, _SAMPLES.size)
        found._high[:] = np.frombuffer(data, "<i8", parameters, place)
        # |m_i| <= 2^40 for each sample: more cannot have been added up, and could not be merged.
        most = found.samples << (40 - _LOW_BITS)
        if (
            found.samples > _MOST_SAMPLES_IN_ALL
            or found._low.max(initial=0) > _LOW_MASK
            or found._high.max(initial=0) > most
            or found._high.min(initial=0) < -most
        ):
            raise ValueError(f"numbers that no sum of {found.samples} samples has")
        return found

    def mean(self, base: NDArray[np.float32]) -> NDArray[np.float32]:
        """base + sum_i n_i d_i / sum_i n_i, `(parameters,)` float32; ValueError of no updates.

        The sum is exact; it is brought to float64, divided and added to the base, rounding at each.
        """
        if not self.samples:
            raise ValueError("nothing to aggregate")
        total = np.ldexp(self._high.astype(np.float64), _LOW_BITS) + self._low
        step = np.ldexp(total, -_SCALE) / self.samples
        return np.asarray(base + step, np.float32)
