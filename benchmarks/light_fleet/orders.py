"""What a benchmark says to the processes of a fleet and to the subscriber, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Counted",
    "FleetHeard",
    "FleetPlayed",
    "FleetSpec",
    "FleetUp",
    "Play",
    "PlayYardstick",
    "Quit",
    "SubscriberSpec",
    "SubscriberUp",
    "YardstickPlayed",
]


@dataclass(frozen=True)
class FleetSpec:
    """One process of the fleet: clients `first` to `last`, exclusive."""

    host: str
    port: int
    federation: str
    parameters: int
    first: int
    last: int
    variants: int
    heartbeat_s: float
    ledger: str
    """The file of the shared byte counts, see ledger.py."""
    place: int
    """The process's own entry in it."""


@dataclass(frozen=True)
class SubscriberSpec:
    """The yardstick: a plain subscriber."""

    host: str
    port: int
    topic_filter: str
    ledger: str


@dataclass(frozen=True)
class Play:
    """All selected clients have trained: offer, wait for the grant, upload, take the verdict."""

    round: int


@dataclass(frozen=True)
class PlayYardstick:
    """Publish the announced round's updates for the subscriber, `wave` of them at a time."""

    federation: str
    wave: int
    payload_bytes: int


@dataclass(frozen=True)
class Quit:
    """Say goodbye and end."""


@dataclass(frozen=True)
class FleetUp:
    """All clients are connected, have subscribed and have said their status."""

    clients: int
    seconds: float


@dataclass(frozen=True)
class FleetHeard:
    """All clients of the process have heard a round's announcement."""

    round: int
    at_s: float
    """On the machine's monotonic clock, as all times here."""
    payload_bytes: int
    """Of all updates that this process will send for it."""


@dataclass(frozen=True)
class FleetPlayed:
    """Every selected client has its verdict. Counts are those of the round."""

    at_s: float
    accepted: int
    rejected: int
    granted: int
    uploaded_bytes: int
    published: int
    """Messages to the coordinator since the announcement before."""
    received: int
    """Messages from it."""


@dataclass(frozen=True)
class YardstickPlayed:
    """Everything is published and acknowledged by the broker."""

    uploaded_bytes: int


@dataclass(frozen=True)
class SubscriberUp:
    """The subscription stands."""


@dataclass(frozen=True)
class Counted:
    """The subscriber has received what it was told to expect."""

    at_s: float
    cpu_s: float
    messages: int
