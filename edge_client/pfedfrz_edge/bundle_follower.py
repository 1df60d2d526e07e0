"""Carries out what `bundle_update.py` decides, for one life of the agent.

The agent hands over what it hears and publishes the answers that it gets back. When the life has to
end for another bundle, `leaving` says so; the process then does that, and begins the next life.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import (
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    OperationError,
    Topics,
)
from pfedfrz_protocol.messages import MAX_TEXT
from pfedfrz_protocol.one_line import one_line
from pfedfrz_transport import Link

from .bundle_check import BundleCheck
from .bundle_exchange import (
    BundleAction,
    BundleChecked,
    BundleChunkSeen,
    BundleEvent,
    CheckBundle,
    FetchBundle,
    InstallBundle,
    KeepBundleChunk,
    LetGoBundle,
    OfferSeen,
    RememberOffer,
    RememberRefusal,
    Report,
    Tell,
)
from .bundle_homes import BundleHomes
from .bundle_update import BundleUpdate
from .configuration import DeviceSettings
from .download_store import DownloadStore
from .trust import CoordinatorTrust

__all__ = ["BundleFollower", "GoBack", "GoOver"]

log = logging.getLogger(__name__)
Answer = BundleInstalled | BundleRefused


@dataclass(frozen=True)
class GoOver:
    """The life ends so that the next one runs the offered bundle."""

    offer: BundleOffer


@dataclass(frozen=True)
class GoBack:
    """The life ends since the bundle on trial does not work."""

    detail: str


class BundleFollower:
    """The bundles of one device, during one life."""

    def __init__(
        self,
        settings: DeviceSettings,
        configuration: Path,
        homes: BundleHomes,
        link: Link,
        boot_id: str,
    ) -> None:
        """`configuration` is the file that `settings` came from: bundles are examined by it."""
        self._configuration = configuration
        self._homes = homes
        self._link = link
        self._topics = Topics(settings.federation)
        self._downloads = DownloadStore(homes.folder)
        limit = settings.updates.max_mib << 20
        self._update = BundleUpdate(
            homes.standing,
            homes.refusals,
            boot_id,
            settings.updates.bundles,
            is_pinned=settings.coordinator_key is not None,
            limit_bytes=limit,
            stored=self._downloads.load(limit),
        )
        self._check: BundleCheck | None = None
        self._is_working = False
        self.leaving: GoOver | GoBack | None = None
        """Why this life should end, if it should."""

    def subscribe(self) -> None:
        """Ask for offers."""
        self._link.subscribe(self._topics.bundle)

    def hear(self, topic: str, payload: bytes, trust: CoordinatorTrust) -> list[Answer] | None:
        """The answers to a message about bundles; None for any other message.

        ProtocolError when an offer is not from our coordinator, or malformed.
        """
        if topic == self._topics.bundle:
            return self._feed(OfferSeen(trust.open(topic, payload, BundleOffer)))
        chunk = self._topics.parse_bundle_chunk(topic)
        return self._feed(BundleChunkSeen(*chunk, payload)) if chunk else None

    def checked(self, result: BundleChecked) -> list[Answer]:
        """The answers to the end of an examination."""
        return self._feed(result)

    def close(self) -> None:
        """The life ends: so does an examination that is under way."""
        if self._check is not None:
            self._check.cancel()
        self.work_ended()

    # What the agent does with the bundle

    def work_begins(self) -> None:
        """A round's work is about to begin."""
        self._is_working = True
        self._guarded(self._homes.risk)

    def work_done(self) -> None:
        """It was done: the bundle works."""
        self._is_working = False
        self._guarded(self._homes.pass_trial)

    def work_broke(self, detail: str) -> None:
        """It could not be done; on trial, that counts."""
        self._is_working = False
        if self._homes.has_failed:
            self.leaving = GoBack(detail)

    def work_ended(self) -> None:
        """Its thread does nothing more, however it ended."""
        if self._is_working:
            self._is_working = False
            self._guarded(self._homes.survive)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OperationError as error:
            log.error("%s", error)

    # What is decided

    def _feed(self, event: BundleEvent) -> list[Answer]:
        answers = list[Answer]()
        for action in self._update.handle(event):
            if isinstance(action, Report):
                answers.append(action.answer)
            else:
                self._execute(action)
        return answers

    def _execute(self, action: BundleAction) -> None:
        link, topics = self._link, self._topics
        match action:
            case FetchBundle(bundle, numbers):
                for number in numbers:
                    link.subscribe(topics.bundle_chunk(bundle, number))
            case LetGoBundle(bundle, numbers):
                for number in numbers:
                    link.unsubscribe(topics.bundle_chunk(bundle, number))
            case KeepBundleChunk(transfer, number, data):
                self._downloads.keep(transfer, number, data)
            case CheckBundle():
                log.info("examining the bundle %s...", action.offer.bundle[:12])
                if self._check is not None:
                    self._check.cancel()
                self._check = BundleCheck(
                    action, self._homes.offered, self._configuration, link.post
                )
                self._check.start()
            case InstallBundle(offer):
                self.leaving = GoOver(offer)
            case RememberOffer(serial, is_followed):
                self._guarded(lambda: self._homes.remember_offer(serial, is_followed=is_followed))
            case RememberRefusal(offer, detail):
                self._homes.refuse(offer, detail)
            case Tell(text, is_fault):
                log.log(
                    logging.WARNING if is_fault else logging.INFO, "%s", one_line(text, MAX_TEXT)
                )
            case _:
                pass
