"""What the messages that a device hears mean, and which of them are the coordinator's.

What nobody trusted has signed is ignored, and so is what is malformed. The last round, control and
offer of an unknown key are kept, since the broker may hand them over before the status that says
whose key it is; they are understood as soon as it is trusted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from pfedfrz_protocol import (
    BundleInstalled,
    BundleRefused,
    Command,
    Control,
    ProtocolError,
    Rarely,
    RejectReason,
    RoundAnnouncement,
    Topics,
)
from pfedfrz_transport import Link, Message

from .bundle_follower import BundleFollower
from .session_exchange import AnnouncementSeen, ChunkSeen, CommandSeen, ControlSeen
from .trust import CoordinatorTrust

__all__ = ["Heard", "Inbox"]

log = logging.getLogger(__name__)
_IGNORED = "ignored"
Heard = AnnouncementSeen | ChunkSeen | CommandSeen | ControlSeen | BundleInstalled | BundleRefused
"""An event of the session, or what the device answers to a message about bundles."""


class Inbox:
    """The messages to one device."""

    def __init__(
        self,
        topics: Topics,
        device: str,
        trust: CoordinatorTrust,
        follower: BundleFollower | None = None,
    ) -> None:
        """`follower` takes the messages about bundles; without any they are nothing."""
        self._topics = topics
        self._device = device
        self._trust = trust
        self._follower = follower
        self._unproved: dict[str, Message] = {}
        """The last round, control and offer, where no key that is trusted, yet, has signed them."""
        self._rarely = Rarely()

    def subscribe(self, link: Link) -> None:
        """Ask for everything that concerns this device."""
        topics = self._topics
        for topic in (topics.coordinator_status, topics.round, topics.control):
            link.subscribe(topic)
        link.subscribe(topics.device(self._device, "command"))
        if self._follower:
            self._follower.subscribe()

    def hear(self, message: Message) -> Iterator[Heard]:
        """What the message says, one at a time: each is to be dealt with before the next."""
        if not message.payload:
            return  # retained state was cleared
        try:
            if message.topic == self._topics.coordinator_status:
                waiting = self._hear_status(message)
                heard: list[Heard] = []
            else:
                waiting, heard = [], self._understand(message)
        except ProtocolError as error:
            self._ignore(message, error)
            return
        yield from heard
        for earlier in waiting:
            yield from self.hear(earlier)

    def _hear_status(self, message: Message) -> list[Message]:
        """What came before the key was known, and may be good now."""
        if not self._trust.hear_status(message.topic, message.payload):
            return []
        unproved, self._unproved = self._unproved, {}
        return list(unproved.values())

    def _ignore(self, message: Message, error: ProtocolError) -> None:
        topics = self._topics
        if error.reason is RejectReason.WRONG_SIGNATURE and message.topic in (
            topics.round,
            topics.control,
            topics.bundle,
        ):
            self._unproved[message.topic] = message
        if self._rarely.occurs(_IGNORED):
            log.warning("ignored a message on %s: %s", message.topic, error)

    def _understand(self, message: Message) -> list[Heard]:
        topics, topic, payload = self._topics, message.topic, message.payload
        if topic == topics.round:
            announcement = self._trust.open(topic, payload, RoundAnnouncement)
            return [AnnouncementSeen(announcement, self._trust.key or "", message.retained)]
        if topic == topics.control:
            return [ControlSeen(self._trust.open(topic, payload, Control), message.retained)]
        if topic == topics.device(self._device, "command"):
            command: Command = self._trust.open(topic, payload, Command)  # type: ignore[arg-type]
            return [CommandSeen(command)]
        answers = self._follower.hear(topic, payload, self._trust) if self._follower else None
        if answers is not None:
            return [*answers]
        chunk = topics.parse_model_chunk(topic)
        return [ChunkSeen(*chunk, payload)] if chunk else []
