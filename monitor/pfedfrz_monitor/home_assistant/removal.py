"""Taking a federation out of Home Assistant again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from pfedfrz_protocol import OperationError, Topics
from pfedfrz_transport import Link, Message, MqttLink, open_access

from ..readable import count
from ..settings import MonitorSettings
from .place import Place

__all__ = ["known_devices", "remove", "remove_from", "retained_devices"]

_LISTEN_S = 2.0
_QUIET_S = 0.5
_FLUSH_S = 10.0


def retained_devices(link: Link, place: Place, *, listen_s: float = _LISTEN_S) -> list[str]:
    """The devices whose states an earlier bridge left on the broker; the link is up."""
    found = set[str]()
    topics = Topics(place.federation)
    end = time.monotonic() + listen_s
    while (left := end - time.monotonic()) > 0:
        event = link.poll(left)
        if not isinstance(event, Message) or not event.payload:
            continue
        # The last levels are those of our own device topics, and so are the names in them.
        tail = event.topic.removeprefix(f"{place.root}/device/").removesuffix("/state")
        sender = topics.parse_device(topics.device(tail, "status"))
        if sender is not None:
            found.add(sender.device)
        end = min(end, time.monotonic() + _QUIET_S)
    return sorted(found)


def remove(link: Link, place: Place, devices: list[str]) -> None:
    """Clear everything that was told of the federation and of these devices."""
    for topic in (place.config(), place.state, place.availability):
        link.clear_retained(topic)
    for name in devices:
        link.clear_retained(place.config(name))
        link.clear_retained(place.device_state(name))


def known_devices(settings: MonitorSettings, place: Place) -> list[str]:
    """The devices that an earlier bridge showed; raises BrokerUnreachable."""
    link = _open(settings, place)
    try:
        return retained_devices(link, place)
    finally:
        link.close()


def remove_from(settings: MonitorSettings, place: Place, *, say: Callable[[str], None]) -> None:
    """Take the federation and its devices out of Home Assistant.

    Raises BrokerUnreachable, and OperationError when the broker does not acknowledge it in time.
    """
    link = _open(settings, place)
    try:
        devices = retained_devices(link, place)
        remove(link, place, devices)
    finally:
        is_done = link.close(timeout_s=_FLUSH_S)
    if not is_done:
        raise OperationError(
            f"the broker did not take all of it within {_FLUSH_S:g} s: may this account write "
            f"{place.prefix}/# and {place.root}/#?"
        )
    say(f"{place.federation} and {count(len(devices), 'device')} are out of Home Assistant")


def _open(settings: MonitorSettings, place: Place) -> MqttLink:
    access = open_access(settings.broker, settings.tls, settings.password_file)
    options = replace(access.options, session_expiry_s=0)
    name = f"{settings.federation}.home.{secrets.token_hex(4)}"
    link = MqttLink(access.address, name, options=options)
    link.subscribe(place.every_device_state)
    link.start()
    try:
        link.wait_until_up(settings.connect_timeout_s)
    except BaseException:
        link.close()
        raise
    return link
