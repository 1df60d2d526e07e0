"""What a device says: its status and its will, heartbeats, events, and the chunks of an update.

Everything is signed, and a link that takes nothing more never ends the device: events are said
again when something hints that they were lost, and an upload is asked for again.
"""

from __future__ import annotations

import logging

from pfedfrz_protocol import (
    Bundle,
    DeviceEvent,
    DeviceStatus,
    Heartbeat,
    PhaseProgress,
    Presence,
    Rarely,
    Topics,
    sign_message,
    split_chunks,
)
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import Link, LinkOverflow, PayloadTooLarge, Will

from .configuration import DeviceSettings
from .session_exchange import Upload

__all__ = ["DevicePublisher", "device_will"]

log = logging.getLogger(__name__)
_WILL_DELAY_S = 3
_UPLOAD_TAG = "update"
_UNSENT = "unsent"


def device_will(
    settings: DeviceSettings, bundle: Bundle, boot_id: str, identity: OwnIdentity
) -> Will:
    """What the broker says of a device that vanished, a little later: boards reconnect often."""
    status = _status(settings, bundle, boot_id, identity, Presence.OFFLINE, 0)
    topic = Topics(settings.federation).device(settings.device, "status")
    return Will(topic, sign_message(status, topic, identity.key), delay_s=_WILL_DELAY_S)


def _status(
    settings: DeviceSettings,
    bundle: Bundle,
    boot_id: str,
    identity: OwnIdentity,
    presence: Presence,
    samples: int,
    waiting_for: str = "",
    label_counts: tuple[int, ...] = (),
) -> DeviceStatus:
    return DeviceStatus(
        presence,
        boot_id,
        bundle.manifest.digest,
        settings.runtime,
        samples,
        identity.key.public,
        identity.successions,
        waiting_for,
        label_counts,
    )


class DevicePublisher:
    """One device's own topics on one link."""

    def __init__(
        self,
        settings: DeviceSettings,
        bundle: Bundle,
        boot_id: str,
        identity: OwnIdentity,
        link: Link,
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._boot_id = boot_id
        self._identity = identity
        self._link = link
        self._topics = Topics(settings.federation)
        self._rarely = Rarely()

    def status(
        self,
        presence: Presence,
        samples: int,
        waiting_for: str,
        label_counts: tuple[int, ...] = (),
    ) -> None:
        """Say how the device is; the broker keeps it. What is waited for is said of WAITING."""
        status = _status(
            self._settings,
            self._bundle,
            self._boot_id,
            self._identity,
            presence,
            samples,
            waiting_for if presence is Presence.WAITING else "",
            label_counts,
        )
        topic = self._topics.device(self._settings.device, "status")
        self._link.publish_retained(topic, sign_message(status, topic, self._identity.key))

    def heartbeat(self, state: str, round_number: int, uptime_s: float) -> None:
        """Say that the device is alive; the next one makes up for one that is lost."""
        self._publish("heartbeat", Heartbeat(self._boot_id, state, round_number, uptime_s), qos=0)

    def event(self, event: DeviceEvent) -> bool:
        """Whether the link took the event; a queue that is full does not end the device."""
        return self._publish("event", event, qos=1)

    def progress(self, progress: PhaseProgress) -> None:
        """Say how far the work is: many events, and none of them worth waiting for."""
        self._publish("event", progress, qos=0)

    def upload(self, upload: Upload) -> None:
        """Send the chunks that are wanted of an update."""
        chunks = split_chunks(upload.payload)
        device, number = self._settings.device, upload.round
        items = [(self._topics.update_chunk(device, number, n), chunks[n]) for n in upload.chunks]
        try:
            self._link.publish_bulk(items, tag=_UPLOAD_TAG)
        except (LinkOverflow, PayloadTooLarge) as error:
            # The coordinator asks again when its grant has expired.
            log.error("the update of round %d cannot be sent: %s", number, error)

    def cancel_upload(self) -> None:
        """Send none of the chunks that have not gone out."""
        self._link.drop_bulk(_UPLOAD_TAG)

    def _publish(self, leaf: str, message: DeviceEvent | Heartbeat, *, qos: int) -> bool:
        topic = self._topics.device(self._settings.device, leaf)
        try:
            self._link.publish(topic, sign_message(message, topic, self._identity.key), qos=qos)
        except (LinkOverflow, PayloadTooLarge) as error:
            if self._rarely.occurs(_UNSENT):
                count = self._rarely.count(_UNSENT)
                log.warning("a message was not sent (%d so far): %s", count, error)
            return False
        return True
