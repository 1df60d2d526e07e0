"""How much a device may say: a token bucket for each, and one that all strangers share.

A message over the quota is not decoded, only counted: what a flood costs is one look-up a message.
Update chunks have a bound of their own, as they come by grant only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pfedfrz_protocol import ConfigurationError

__all__ = ["QuotaPolicy", "Quotas", "Traffic"]


class QuotaPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device may send; what is more is ignored and counted."""

    messages_per_s: float = 100.0
    """In the long run, for each device."""
    burst_messages: int = 3000
    """At once, after silence."""
    strangers_burst: int = 30_000
    """Devices that are not enrolled share one quota with this burst: a whole fleet may come at
    once while a permit-join window is open."""
    resent_share: float = 3.0
    """Bytes of an upload that may come beyond its length, as a multiple of it: what is sent again
    after a lost connection."""

    def __post_init__(self) -> None:
        for name, fits in (
            ("messages_per_s", self.messages_per_s > 0),
            ("burst_messages", self.burst_messages >= 1),
            ("strangers_burst", self.strangers_burst >= 1),
            ("resent_share", self.resent_share >= 0),
        ):
            if not fits:
                raise ConfigurationError(f"[quotas] {name} = {getattr(self, name)} is too small")


@dataclass
class Traffic:
    """What one sender has sent, since it was last written down."""

    messages: int = 0
    payload_bytes: int = 0
    ignored: int = 0


@dataclass
class _Bucket:
    tokens: float
    filled_s: float


class Quotas:
    """The buckets and the counts of one federation."""

    def __init__(self, policy: QuotaPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._traffic: dict[str, Traffic] = {}

    def take(self, sender: str, payload_bytes: int) -> bool:
        """Count a message; False when it is over the sender's quota. "" are all strangers."""
        now_s = self._clock()
        burst = self._policy.burst_messages if sender else self._policy.strangers_burst
        bucket = self._buckets.get(sender)
        if bucket is None:
            bucket = self._buckets[sender] = _Bucket(burst, now_s)
        gained = (now_s - bucket.filled_s) * self._policy.messages_per_s
        bucket.tokens = min(burst, bucket.tokens + gained)
        bucket.filled_s = now_s
        self.count(sender, payload_bytes)
        if bucket.tokens < 1:
            self.count_ignored(sender)
            return False
        bucket.tokens -= 1
        return True

    def count_ignored(self, sender: str) -> None:
        """A message of the sender was looked at and thrown away."""
        self._traffic.setdefault(sender, Traffic()).ignored += 1

    def upload_limit(self, announced_bytes: int, slack_bytes: int) -> int:
        """How many bytes of chunks may come for an upload of that length."""
        return int(announced_bytes * (1 + self._policy.resent_share)) + slack_bytes

    def count(self, sender: str, payload_bytes: int) -> None:
        """Count a message that no bucket bounds, as a chunk of an upload is."""
        traffic = self._traffic.setdefault(sender, Traffic())
        traffic.messages += 1
        traffic.payload_bytes += payload_bytes

    def drain(self) -> dict[str, Traffic]:
        """The counts since the last call."""
        drained, self._traffic = self._traffic, {}
        return drained
