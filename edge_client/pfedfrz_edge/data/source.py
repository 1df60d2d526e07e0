"""What every source of samples offers: a cheap look whether it changed, and a reading."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec

from ..runtimes.machine_memory import memory_of_machine
from .labelled import LabelledData

__all__ = [
    "FRESH_S",
    "Hashes",
    "Reading",
    "Source",
    "StillWritten",
    "hash_of_rows",
    "hashes",
    "most_samples",
]

FRESH_S = 2.0
"""What was written to within so many seconds may not be whole yet."""

_SHARE_OF_MEMORY = 4
"""The samples as float32 take at most this part (a quarter) of the machine's memory."""

Hashes = NDArray[np.uint64]


class StillWritten(ConfigurationError):
    """A file that cannot be read, and was written to just now: it may be whole the next time."""


@dataclass(frozen=True)
class Reading:
    """What a source held when it was read."""

    data: LabelledData
    identities: Callable[[], Hashes]
    """A hash of every sample, `(samples,)`, which does not change when others come or go."""
    is_settled: bool = True
    """Whether a source that has not changed since gives the same again; else it is read anew."""


class Source(Protocol):
    """Where samples are from."""

    @property
    def name(self) -> str:
        """For people: which source this is."""

    def signature(self) -> object:
        """Differs from before when the source changed; None where only reading tells.

        Raises ConfigurationError for a source that is not there.
        """

    def read(self) -> Reading:
        """What is there now, the newest where there is more than fits.

        Raises ConfigurationError, one line, for what a person must mend, and StillWritten for what
        time may mend.
        """


def hashes(identities: Iterable[bytes]) -> Hashes:
    """A number below 2^64 for each identity, the same on every machine and in every run."""
    digests = b"".join(hashlib.blake2b(each, digest_size=8).digest() for each in identities)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def hash_of_rows(x: NDArray[np.float32]) -> Hashes:
    """The same for samples whose content is all that is known of them."""
    return hashes(row.tobytes() for row in x)


def most_samples(spec: InputSpec, max_samples: int) -> int:
    """How many samples are kept: `max_samples` (0 for no wish), as far as there is memory."""
    room = memory_of_machine() // _SHARE_OF_MEMORY // (4 * max(1, math.prod(spec.shape)))
    return max(1, min(max_samples or room, room))
