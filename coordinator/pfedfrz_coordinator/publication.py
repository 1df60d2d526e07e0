"""What the coordinator says to the devices: retained state, the model, commands; all signed."""

from __future__ import annotations

import logging

import msgspec

from pfedfrz_protocol import (
    Bundle,
    Command,
    Control,
    CoordinatorStatus,
    DesiredState,
    Membership,
    OperatorAnswer,
    Presence,
    Rarely,
    RoundAnnouncement,
    RoundHistory,
    RoundMetrics,
    Topics,
    sign_message,
    split_chunks,
)
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import Link, LinkOverflow, Will

from .bundle_offering import load_offered, publish_offer
from .configuration import CoordinatorSettings
from .journal import Journal

__all__ = ["Publication", "coordinator_will"]

log = logging.getLogger(__name__)


def coordinator_will(settings: CoordinatorSettings, bundle: Bundle, identity: OwnIdentity) -> Will:
    """What the broker says of a coordinator that vanished."""
    status = _status(Presence.OFFLINE, bundle.manifest.digest, 0, identity)
    topic = Topics(settings.federation).coordinator_status
    return Will(topic, sign_message(status, topic, identity.key))


class Publication:
    """Everything of one federation that leaves for its devices over one link."""

    def __init__(
        self, settings: CoordinatorSettings, bundle: Bundle, link: Link, identity: OwnIdentity
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._link = link
        self._identity = identity
        self._topics = Topics(settings.federation)
        self._version: int | None = None
        """Of the model that is published."""
        self._rarely = Rarely()

    def presence(self, presence: Presence, epoch: int) -> None:
        """Say whether the coordinator is there."""
        status = _status(presence, self._bundle.manifest.digest, epoch, self._identity)
        self._retain(self._topics.coordinator_status, status)

    def control(self, desired: DesiredState, epoch: int) -> None:
        """Say whether the federation runs, pauses or has come to its end."""
        self._retain(self._topics.control, Control(desired, epoch))

    def offer_bundle(self, journal: Journal) -> None:
        """Offer the bundle, if it was adopted."""
        publish_offer(
            self._link,
            self._topics,
            self._identity.key,
            self._bundle,
            load_offered(journal),
            self._settings.bundle_updates,
            is_first_start=not journal.rounds(),
        )

    def round(self, announcement: RoundAnnouncement, payload: bytes) -> None:
        """Announce a round behind its model, whose sealed bytes are `payload`.

        A model that is published already is not sent again; the one before goes at the end.
        """
        version, old = announcement.model.version, self._version
        if version != old:
            chunks = enumerate(split_chunks(payload))
            items = [(self._topics.model_chunk(version, n), chunk) for n, chunk in chunks]
            self._link.publish_bulk(items, tag=_model_tag(version), retained=True)
            self._version = version
        self._retain(self._topics.round, announcement)
        if old is not None and old != version:
            self._link.drop_bulk(_model_tag(old))

    def metrics(self, metrics: RoundMetrics) -> None:
        """Tell the numbers of a closed round."""
        self._retain(self._topics.metrics, metrics)

    def history(self, history: RoundHistory) -> None:
        """Tell the closed rounds so far, for whoever comes late."""
        self._retain(self._topics.history, history)

    def members(self, membership: Membership) -> None:
        """Tell who is let in and who is not."""
        self._retain(self._topics.members, membership)

    def answer(self, operator: str, answer: OperatorAnswer) -> None:
        """Tell an operator what became of a request; dropped when the link's queue is full."""
        topic = self._topics.operator(operator, "answer")
        try:
            self._link.publish(topic, sign_message(answer, topic, self._identity.key))
        except LinkOverflow as error:
            # Asked again, it is said again.
            if self._rarely.occurs("answer dropped"):
                log.warning("an answer to the operator %s was dropped: %s", operator, error)

    def end(self, epoch: int) -> None:
        """Say that the rounds are over, and take back the last of them and its model."""
        self.control(DesiredState.STOP, epoch)
        self._link.clear_retained(self._topics.round)
        if self._version is not None:
            self._link.drop_bulk(_model_tag(self._version))

    def command(self, device: str, command: Command) -> None:
        """Tell one device something; dropped when the link's queue is full."""
        topic = self._topics.device(device, "command")
        try:
            self._link.publish(topic, sign_message(command, topic, self._identity.key))
        except LinkOverflow as error:
            # Devices offer again and grants expire, so a lost command costs time and no update.
            if self._rarely.occurs("command dropped"):
                log.warning("a command to %s was dropped: %s", device, error)

    def _retain(self, topic: str, message: msgspec.Struct) -> None:
        self._link.publish_retained(topic, sign_message(message, topic, self._identity.key))


def _status(
    presence: Presence, bundle: str, epoch: int, identity: OwnIdentity
) -> CoordinatorStatus:
    return CoordinatorStatus(presence, bundle, epoch, identity.key.public, identity.successions)


def _model_tag(version: int) -> str:
    return f"model/{version}"
