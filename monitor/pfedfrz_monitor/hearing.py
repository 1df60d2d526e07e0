"""From bytes on a topic to what a view is told, after it was checked who says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfedfrz_protocol import (
    Command,
    Control,
    DeviceEvent,
    Heartbeat,
    Membership,
    RoundAnnouncement,
    RoundHistory,
    RoundMetrics,
    Topics,
)

if TYPE_CHECKING:
    from .view import FederationView

__all__ = ["filters_of", "tell"]

_DEVICE_LEAVES = ("status", "event", "command", "heartbeat")


def filters_of(topics: Topics) -> tuple[str, ...]:
    """What to subscribe to: statuses first, since they carry the keys."""
    return (
        topics.coordinator_status,
        *(topics.every_device(leaf) for leaf in _DEVICE_LEAVES),
        topics.members,
        topics.control,
        topics.history,
        topics.metrics,
        topics.round,
    )


def tell(view: FederationView, topic: str, payload: bytes) -> None:
    """Tell the view what the message says; ProtocolError for one that is not to be believed."""
    ours, signed = view.topics, view.signatures
    if topic == ours.coordinator_status:
        view.on_coordinator(signed.coordinator_status(payload))
    elif topic == ours.round:
        view.on_announcement(signed.by_coordinator(topic, payload, RoundAnnouncement))
    elif topic == ours.metrics:
        view.on_metrics(signed.by_coordinator(topic, payload, RoundMetrics))
    elif topic == ours.history:
        view.on_history(signed.by_coordinator(topic, payload, RoundHistory))
    elif topic == ours.members:
        view.on_membership(signed.by_coordinator(topic, payload, Membership))
    elif topic == ours.control:
        view.on_control(signed.by_coordinator(topic, payload, Control))
    else:
        _tell_of_device(view, topic, payload)


def _tell_of_device(view: FederationView, topic: str, payload: bytes) -> None:
    sender = view.topics.parse_device(topic)
    if sender is None:
        return
    name, signed = sender.device, view.signatures
    if sender.leaf == "status":
        view.on_status(name, signed.device_status(name, topic, payload))
    elif sender.leaf == "event":
        event: DeviceEvent = signed.by_device(name, topic, payload, DeviceEvent)  # type: ignore[arg-type]
        view.on_event(name, event)
    elif sender.leaf == "heartbeat":
        signed.by_device(name, topic, payload, Heartbeat)
        view.on_heartbeat(name)
    elif sender.leaf == "command":
        command: Command = signed.by_coordinator(topic, payload, Command)  # type: ignore[arg-type]
        view.on_command(name, command)
