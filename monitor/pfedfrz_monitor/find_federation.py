"""Which federation to watch, where nobody said."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from pfedfrz_protocol import ConfigurationError, check_name
from pfedfrz_transport import BrokerAccess, Link, LinkLimits, Message, MqttLink

__all__ = ["EVERY_COORDINATOR", "federation_on", "find_federation", "hear_federations"]

EVERY_COORDINATOR = "pfedfrz/v1/+/coordinator/status"
"""The subscription filter for the coordinators' statuses of all federations of a broker."""
_MOST = 100
_MOST_NAMED = 10
_LISTEN_S = 2.0
_QUIET_S = 0.4
"""After the last one that was heard: what is retained comes in one go."""


def federation_on(topic: str) -> str | None:
    """Whose coordinator has this topic for its status; None for any other topic.

    Anybody may have made up a topic: what is no name is not shown to people.
    """
    levels = topic.split("/")
    if levels[3:] != ["coordinator", "status"]:
        return None
    try:
        return check_name("federation", levels[2])
    except ConfigurationError:
        return None


def hear_federations(link: Link, *, listen_s: float = _LISTEN_S) -> list[str]:
    """The names of the federations whose coordinators left a status on the broker, sorted."""
    found = set[str]()
    end = time.monotonic() + listen_s
    while len(found) < _MOST and (left := end - time.monotonic()) > 0:
        event = link.poll(left)
        if not isinstance(event, Message) or not event.payload:
            continue
        name = federation_on(event.topic)
        if name is None:
            continue
        found.add(name)
        end = min(end, time.monotonic() + _QUIET_S)
    return sorted(found)


def find_federation(access: BrokerAccess, *, connect_timeout_s: float = 10.0) -> str:
    """The only federation on the broker.

    Raises ConfigurationError where there is none or more than one, and BrokerUnreachable.
    """
    options = replace(access.options, session_expiry_s=0, limits=LinkLimits())
    link = MqttLink(access.address, f"monitor.{secrets.token_hex(4)}", options=options)
    link.subscribe(EVERY_COORDINATOR)
    link.start()
    try:
        link.wait_until_up(connect_timeout_s)
        found = hear_federations(link)
    finally:
        link.close()
    if not found:
        raise ConfigurationError(
            f"no federation is to be seen on {access.address}: give --federation NAME, or check "
            "that this account may read pfedfrz/v1/#"
        )
    if len(found) > 1:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise ConfigurationError(
            f"several federations are on {access.address}: give --federation with one of "
            f"{', '.join(found[:_MOST_NAMED])}{more}"
        )
    return found[0]
