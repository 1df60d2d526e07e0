"""What a person can see of a federation, from its topics alone.

A pure picture: messages go in, `FederationView` is what is known. Whoever watches decides how to
draw it. Messages that do not decode are counted, not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pfedfrz_protocol import (
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    LocalReport,
    PhaseProgress,
    Presence,
    ProtocolError,
    RoundAnnouncement,
    RoundFailed,
    RoundMetrics,
    Topics,
    UpdateReady,
    decode_message,
)

__all__ = ["DeviceView", "FederationView"]


@dataclass
class DeviceView:
    """One device as its messages show it."""

    presence: Presence = Presence.OFFLINE
    doing: str = ""
    reports: dict[int, LocalReport] = field(default_factory=dict)
    """Its numbers by round."""

    @property
    def latest(self) -> LocalReport | None:
        """The report of the newest round."""
        return self.reports[max(self.reports)] if self.reports else None


@dataclass
class FederationView:
    """One federation as its messages show it."""

    topics: Topics
    announcement: RoundAnnouncement | None = None
    devices: dict[str, DeviceView] = field(default_factory=dict)
    closed: dict[int, RoundMetrics] = field(default_factory=dict)
    """The numbers of closed rounds."""
    malformed: int = 0

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        topics = self.topics
        return (
            topics.round,
            topics.metrics,
            topics.every_device("status"),
            topics.every_device("event"),
        )

    def see(self, topic: str, payload: bytes) -> None:
        """Take one message."""
        if not payload:
            return
        try:
            self._see(topic, payload)
        except ProtocolError:
            self.malformed += 1

    def _see(self, topic: str, payload: bytes) -> None:
        if topic == self.topics.round:
            self.announcement = decode_message(payload, RoundAnnouncement)
            return
        if topic == self.topics.metrics:
            metrics = decode_message(payload, RoundMetrics)
            self.closed[metrics.round] = metrics
            return
        sender = self.topics.parse_device(topic)
        if sender is None:
            return
        device = self.devices.setdefault(sender.device, DeviceView())
        if sender.leaf == "status":
            device.presence = decode_message(payload, DeviceStatus).presence
        elif sender.leaf == "event":
            event: DeviceEvent = decode_message(payload, DeviceEvent)  # type: ignore[arg-type]
            self._on_event(device, event)

    def _on_event(self, device: DeviceView, event: DeviceEvent) -> None:
        match event:
            case PhaseProgress():
                phase = f"phase {event.phase + 1}/{event.phases} {event.trainable.value}"
                device.doing = f"{phase}, epoch {event.epoch + 1}/{event.epochs}"
            case UpdateReady():
                device.doing = "update ready"
                device.reports[event.round] = event.report
            case Evaluated():
                device.doing = "evaluated"
                device.reports[event.round] = event.report
            case RoundFailed():
                device.doing = "failed"
