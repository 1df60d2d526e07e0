"""What devices say of themselves: who is there, what became of their work, who is kept out.

Every message passes the gate (`admission.py`) before anything else sees it. A status decides
whether the engine may select the device; what is refused here is counted, and of its sender only a
status is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pfedfrz_protocol import (
    BundleInstalled,
    BundleRefused,
    DeviceEvent,
    DeviceTopic,
    Evaluated,
    Heartbeat,
    NotAdmitted,
    PhaseProgress,
    Presence,
    ProtocolError,
    Rarely,
    RejectReason,
    RoundFailed,
    UpdateReady,
)

from .admission import Admission
from .device_bundles import DeviceBundles
from .engine import RoundEngine
from .engine_exchange import (
    DeviceAppeared,
    DeviceBarred,
    DeviceFailed,
    DeviceHeard,
    DeviceLost,
    DeviceWaits,
    EvaluationReported,
    Event,
    UpdateOffered,
)
from .ignored_messages import IgnoredMessages
from .journal import Journal
from .publication import Publication
from .upload_desk import UploadDesk

__all__ = ["DeviceDesk"]

log = logging.getLogger(__name__)


class DeviceDesk:
    """Hears all devices of one federation."""

    def __init__(
        self,
        bundle: str,
        engine: RoundEngine,
        admission: Admission,
        device_bundles: DeviceBundles,
        journal: Journal,
        uploads: UploadDesk,
        publication: Publication,
        ignored: IgnoredMessages,
        feed: Callable[[Event], None],
    ) -> None:
        """`bundle` is the digest of the one in use; `feed` takes the engine's events."""
        self._bundle = bundle
        self._engine = engine
        self._admission = admission
        self._device_bundles = device_bundles
        self._journal = journal
        self._uploads = uploads
        self._publication = publication
        self._ignored = ignored
        self._feed = feed
        self._rarely = Rarely()

    def on_message(self, sender: DeviceTopic, topic: str, payload: bytes) -> None:
        """A message on a device's topic, within its quota."""
        quotas = self._admission.quotas
        if not quotas.take(self._admission.sender(sender.device), len(payload)):
            error = ProtocolError(RejectReason.QUOTA_EXCEEDED, "too many messages")
            self._ignored.add(topic, error)
            return
        self._take(sender.device, sender.leaf, topic, payload)

    def look_for_changes(self) -> None:
        """Follow what a person has changed about the devices, from another process."""
        self._device_bundles.write_down()
        self._admission.write_down_waiting()
        barred, asked = self._admission.look_for_changes()
        for device in sorted(barred):
            self._bar(device, "by command")
        for device, topic, payload in asked:
            self._take(device, "status", topic, payload)

    def count_failure(self, device: str, detail: str, *, rejected: bool) -> None:
        """An update was refused or a round failed; the device is quarantined if it is too often."""
        reason = self._admission.count_failure(device, detail, rejected=rejected)
        if reason is not None:
            self._bar(device, reason)
            self._publication.command(device, NotAdmitted(RejectReason.QUARANTINED, reason))

    def _bar(self, device: str, reason: str) -> None:
        self._uploads.forget(device)
        self._feed(DeviceBarred(device, reason))

    def _take(self, device: str, leaf: str, topic: str, payload: bytes) -> None:
        try:
            if leaf == "status":
                self._on_status(device, topic, payload)
            elif leaf == "heartbeat":
                if self._engine.is_silent(device):
                    self._admission.open(device, topic, payload, Heartbeat)
                    self._feed(DeviceHeard(device))
            elif leaf == "event":
                event: DeviceEvent = self._admission.open(device, topic, payload, DeviceEvent)  # type: ignore[arg-type]
                self._on_event(device, event)
        except ProtocolError as error:
            self._admission.quotas.count_ignored(self._admission.sender(device))
            self._ignored.add(topic, error)
            if leaf == "status":
                self._publication.command(device, NotAdmitted(error.reason, error.detail))

    def _on_status(self, device: str, topic: str, payload: bytes) -> None:
        status = self._admission.open_status(device, topic, payload)
        presence = status.presence
        online = presence is not Presence.OFFLINE
        self._device_bundles.has(device, status.bundle)
        if online and status.bundle != self._bundle:
            if self._rarely.occurs("foreign bundle"):
                log.warning("%s has another bundle and is left out: %s", device, status.bundle)
            online = False
        if online and not status.samples:
            # It would fail every round that it is given; when it has some it says so.
            if self._rarely.occurs("no samples"):
                log.info("%s has no samples yet and is not selected", device)
            online = False
        waits = online and presence is Presence.WAITING
        known = (self._engine.is_present(device), self._engine.is_waiting(device))
        if known != (online and not waits, waits):
            log.info("%s is %s %s", device, presence.value, status.waiting_for if waits else "")
        if not online:
            self._feed(DeviceLost(device))
        elif waits:
            self._feed(DeviceWaits(device, status.waiting_for))
        else:
            self._feed(DeviceAppeared(device))

    def _on_event(self, device: str, event: DeviceEvent) -> None:
        if self._engine.is_silent(device):
            self._feed(DeviceHeard(device))
        if isinstance(event, PhaseProgress):
            return
        if isinstance(event, BundleInstalled | BundleRefused):
            self._device_bundles.answered(device, event, self._journal)
            return
        number, epoch = event.round, event.epoch
        current = (number, epoch) == (self._engine.round, self._engine.epoch)
        match event:
            case UpdateReady():
                counts_for = self._engine.counts_for(number, epoch)
                if counts_for is not None:
                    self._journal.record_report(counts_for, device, "offered", event.report)
                self._feed(UpdateOffered(device, number, epoch, event.base, event.transfer))
            case Evaluated():
                if current:
                    self._journal.record_report(number, device, "reported", event.report)
                self._feed(EvaluationReported(device, number, epoch))
            case RoundFailed():
                if current and self._journal.record_report(number, device, "failed", None):
                    self.count_failure(device, event.detail, rejected=False)
                self._feed(DeviceFailed(device, number, epoch, event.detail))
