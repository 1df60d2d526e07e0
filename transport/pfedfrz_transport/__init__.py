"""Carries protocol bytes between coordinator and devices: over MQTT, or in memory."""

from __future__ import annotations

from .address import BrokerAddress, MqttOptions
from .backoff import BackoffPolicy
from .broker_access import BrokerAccess, TlsSettings, open_access
from .events import BulkDone, LinkDown, LinkEvent, LinkUp, Message, Posted, Refused
from .faults import BrokerUnreachable, LinkClosed, LinkOverflow, PayloadTooLarge
from .filters import check_filter, check_topic, topic_matches
from .link import Link, LinkLimits, Traffic, Will
from .memory import MemoryLink
from .memory_broker import Captured, MemoryBroker
from .mqtt import MqttLink
from .probe import probe_broker
from .service_manager import ServiceManager

__all__ = [
    "BackoffPolicy",
    "BrokerAccess",
    "BrokerAddress",
    "BrokerUnreachable",
    "BulkDone",
    "Captured",
    "Link",
    "LinkClosed",
    "LinkDown",
    "LinkEvent",
    "LinkLimits",
    "LinkOverflow",
    "LinkUp",
    "MemoryBroker",
    "MemoryLink",
    "Message",
    "MqttLink",
    "MqttOptions",
    "PayloadTooLarge",
    "Posted",
    "Refused",
    "ServiceManager",
    "TlsSettings",
    "Traffic",
    "Will",
    "check_filter",
    "check_topic",
    "open_access",
    "probe_broker",
    "topic_matches",
]
