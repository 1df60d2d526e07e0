"""How long to wait before the next attempt to connect: exponential, with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff", "BackoffPolicy"]


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """The n-th delay is drawn evenly from the upper half of min(first_s 2^(n-1), longest_s).

    Half of the delay is jitter, so that a fleet does not come back in one instant after its broker
    restarts; the other half keeps one device from hammering.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    settled_s: float = 5.0
    """A connection that held this long counts as a success, and delays begin anew.

    A shorter one does not: two clients with one id put each other out, each time after a
    connection that looked fine.
    """


class Backoff:
    """The delays of one link. The same random source gives the same delays."""

    def __init__(self, policy: BackoffPolicy, source: random.Random) -> None:
        self._policy = policy
        self._source = source
        self._failures = 0

    def next_s(self, was_up_s: float) -> float:
        """The delay in seconds after a connection that held for `was_up_s` (0: it failed)."""
        if was_up_s >= self._policy.settled_s:
            self._failures = 0
        # The exponent is capped because 2.0 ** 1024 overflows after a month without a broker.
        ceiling = min(self._policy.first_s * 2.0 ** min(self._failures, 64), self._policy.longest_s)
        self._failures += 1
        return ceiling * self._source.uniform(0.5, 1.0)
