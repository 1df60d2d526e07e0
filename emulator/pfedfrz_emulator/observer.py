"""What a person can see of a federation, from its topics alone.

A pure picture: messages go in, `FederationView` is what is known. Whoever watches decides how to
draw it. Messages that do not decode are counted, not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pfedfrz_protocol import (
    BundleInstalled,
    BundleRefused,
    Command,
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    LocalReport,
    PhaseProgress,
    Presence,
    ProtocolError,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundMetrics,
    Topics,
    UpdateReady,
    open_message,
)

__all__ = ["DeviceView", "Fault", "FederationView"]

_NO_FAULT = (RejectReason.LATE, RejectReason.DUPLICATE, RejectReason.NOT_SELECTED)
"""Refusals that happen to healthy devices, when messages cross."""


@dataclass(frozen=True)
class Fault:
    """A device that could not do its part in a round, or whose update was refused."""

    device: str
    round: int
    epoch: int
    text: str


@dataclass
class DeviceView:
    """One device as its messages show it."""

    presence: Presence = Presence.OFFLINE
    waiting_for: str = ""
    """Why it does not train now, as it says itself."""
    doing: str = ""
    bundle: str = ""
    """Digest of the one that its last status named."""
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
    openings: int = 0
    """How often the announced round has been opened."""
    devices: dict[str, DeviceView] = field(default_factory=dict)
    closed: dict[int, RoundMetrics] = field(default_factory=dict)
    """The numbers of closed rounds."""
    faults: list[Fault] = field(default_factory=list)
    """In the order in which they came."""
    malformed: int = 0

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        topics = self.topics
        devices = (topics.every_device(leaf) for leaf in ("status", "event", "command"))
        return (topics.round, topics.metrics, *devices)

    @property
    def is_hopeless(self) -> bool:
        """True while every device that the open round asked for an update has failed to give it.

        A device that failed would fail again: its seed, its data and the model are the same.
        """
        opened = self.announcement
        if opened is None or opened.purpose is Purpose.EVALUATE or opened.round in self.closed:
            return False
        here = (opened.round, opened.epoch)
        failed = {fault.device for fault in self.faults if (fault.round, fault.epoch) == here}
        return bool(opened.selected) and failed >= set(opened.selected)

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
            self._on_announcement(open_message(payload, RoundAnnouncement))
            return
        if topic == self.topics.metrics:
            metrics = open_message(payload, RoundMetrics)
            self.closed[metrics.round] = metrics
            return
        sender = self.topics.parse_device(topic)
        if sender is None:
            return
        name = sender.device
        device = self.devices.setdefault(name, DeviceView())
        if sender.leaf == "status":
            status = open_message(payload, DeviceStatus)
            device.presence, device.bundle = status.presence, status.bundle
            device.waiting_for = status.waiting_for
        elif sender.leaf == "event":
            event: DeviceEvent = open_message(payload, DeviceEvent)  # type: ignore[arg-type]
            self._on_event(name, device, event)
        elif sender.leaf == "command":
            command: Command = open_message(payload, Command)  # type: ignore[arg-type]
            if isinstance(command, Rejected) and command.reason not in _NO_FAULT:
                text = f"update rejected, {command.reason.value}: {command.detail}"
                device.doing = f"rejected: {command.reason.value}"
                self.faults.append(Fault(name, command.round, command.epoch, text))

    def _on_announcement(self, opened: RoundAnnouncement) -> None:
        before = self.announcement
        if before is None or opened.round != before.round:
            self.openings = 1
        elif opened.epoch != before.epoch:
            self.openings += 1
        self.announcement = opened

    def _on_event(self, name: str, device: DeviceView, event: DeviceEvent) -> None:
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
                self.faults.append(Fault(name, event.round, event.epoch, event.detail))
            case BundleInstalled():
                device.doing = "has another bundle"
            case BundleRefused():
                device.doing = f"refused a bundle: {event.detail}"
