"""Carries protocol bytes between coordinator and devices: over MQTT, or in memory."""

from __future__ import annotations

from .events import BulkDone, LinkDown, LinkEvent, LinkUp, Message, Posted, Refused
from .faults import BrokerUnreachable, LinkClosed, LinkOverflow, PayloadTooLarge
from .link import Link, LinkLimits, Traffic, Will

__all__ = [
    "BrokerUnreachable",
    "BulkDone",
    "Link",
    "LinkClosed",
    "LinkDown",
    "LinkEvent",
    "LinkLimits",
    "LinkOverflow",
    "LinkUp",
    "Message",
    "PayloadTooLarge",
    "Posted",
    "Refused",
    "Traffic",
    "Will",
]
