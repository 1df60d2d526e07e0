"""What a link tells its owner: one closed set of events, taken one at a time from `poll`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BulkDone", "LinkDown", "LinkEvent", "LinkUp", "Message", "Posted", "Refused"]


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The broker accepted the connection; subscriptions and retained state are on their way."""

    session_present: bool
    """The broker still held our session. Nothing depends on it: everything is renewed anyway."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """An established connection was lost; the link keeps trying to come back by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message that matched a subscription. At least once: a duplicate is possible."""

    topic: str
    payload: bytes
    retained: bool
    """The broker held it as retained state: it was not published just now."""


@dataclass(frozen=True, slots=True)
class BulkDone:
    """Every item of a bulk was acknowledged by the broker; told once per `publish_bulk`."""

    tag: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker will not take a message, a chunk or a subscription; it was given up.

    A refused bulk ends with this event instead of `BulkDone`. Refused retained state stays
    remembered and is offered again at the next connect.
    """

    topic: str
    """The topic, or the filter of a subscription."""
    reason: str
    tag: str | None = None
    """The bulk that ended with it."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What another thread of the owner put into the queue with `post`."""

    value: object


LinkEvent: TypeAlias = LinkUp | LinkDown | Message | BulkDone | Refused | Posted
