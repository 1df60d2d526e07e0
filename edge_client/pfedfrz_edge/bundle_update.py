"""What a device makes of the bundles that its coordinator offers, as decisions only.

Events go in, actions come out; no clock, no socket, no disk (the style of h11), as in `session.py`.
An offer is retained, so the broker says it again after every connect: each time it is seen, the
device answers with what it has made of it, once, or goes on with what it is doing about it. That
makes the answer safe against lost messages, and there is no other report.

Which offer counts is said by its serial alone. The highest one that was seen is kept on the disk: a
broker that was killed may bring back an old offer, which must not take the device back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pfedfrz_protocol import (
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    ProtocolError,
)

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
    Standing,
    Tell,
)
from .bundle_record import Refusal
from .download_store import StoredDownload
from .model_download import ModelDownload
from .update_policy import OfferPolicy

__all__ = ["BundleUpdate"]


class BundleUpdate:
    """What one device does about offers, for one life of its agent."""

    def __init__(
        self,
        standing: Standing,
        refusals: Mapping[str, Refusal],
        boot_id: str,
        policy: OfferPolicy,
        *,
        is_pinned: bool,
        limit_bytes: int,
        stored: StoredDownload | None = None,
    ) -> None:
        """`is_pinned`: whether the coordinator's key was configured. `stored` is what was kept of
        a download.
        """
        self._standing = standing
        self._serial = standing.serial
        self._refusals = dict(refusals)
        self._boot_id = boot_id
        self._policy = policy
        self._is_pinned = is_pinned
        self._limit_bytes = limit_bytes
        self._stored = stored
        self._offer: BundleOffer | None = None
        """The one that something is being done about."""
        self._download: ModelDownload | None = None
        """None while the bundle is checked."""
        self._told: set[str] = set()

    def handle(self, event: BundleEvent) -> list[BundleAction]:
        """The actions that `event` calls for, in the order in which they must be executed."""
        match event:
            case OfferSeen(offer):
                return self._on_offer(offer)
            case BundleChunkSeen(bundle, number, data):
                return self._on_chunk(bundle, number, data)
            case BundleChecked(bundle, fault):
                return self._on_checked(bundle, fault)

    # An offer

    def _on_offer(self, offer: BundleOffer) -> list[BundleAction]:
        if offer.serial < self._serial:
            return self._tell_once(
                f"an old offer of a bundle (serial {offer.serial}, {self._serial} was seen) is "
                "ignored"
            )
        if offer.bundle == self._standing.own:
            return self._on_own(offer)
        refusal = self._refusals.get(offer.bundle)
        if refusal is not None and refusal.serial >= offer.serial:
            return [self._refused(offer, refusal.detail)]
        if offer.serial <= self._standing.followed:
            return self._tell_once(
                f"the coordinator offers the bundle {offer.bundle[:12]}..., a person has chosen "
                "another since: that one stays"
            )
        fault = self._objection(offer)
        if fault is not None:
            return [*self._tell_once(fault), self._refused(offer, fault)]
        if self._offer == offer:
            return self._on_same(offer)
        return [*self._leave(), *self._remember(offer.serial), *self._fetch(offer)]

    def _on_own(self, offer: BundleOffer) -> list[BundleAction]:
        actions = self._leave()
        if offer.serial > self._standing.followed:
            self._standing = replace(self._standing, serial=offer.serial, followed=offer.serial)
            self._serial = offer.serial
            actions.append(RememberOffer(offer.serial, is_followed=True))
        if self._standing.installed is not None:
            answer = BundleInstalled(
                offer.serial, offer.bundle, self._boot_id, self._standing.installed
            )
            actions.append(Report(answer))
        return actions

    def _objection(self, offer: BundleOffer) -> str | None:
        """Why this device does not even look at it."""
        if self._policy is OfferPolicy.NEVER:
            return 'this device takes no bundle from the network ([updates] bundles = "never")'
        if self._policy is OfferPolicy.PINNED and not self._is_pinned:
            return (
                "this device trusts its coordinator for being the first that it heard, which is "
                "not enough for a bundle: set coordinator_key, or [updates] bundles = "
                f'"{OfferPolicy.TRUSTED.value}"'
            )
        size = offer.transfer.payload_bytes
        if not 0 < size <= self._limit_bytes:
            return (
                f"the offered bundle has {size} bytes, this device takes 1 to "
                f"{self._limit_bytes} ([updates] max_mib)"
            )
        return None

    def _on_same(self, offer: BundleOffer) -> list[BundleAction]:
        """The link came back, or the offer was said again: what was asked for may be lost."""
        if self._download is None:
            return []
        self._download.ask_again()
        return [FetchBundle(offer.bundle, self._download.ask())]

    def _remember(self, serial: int) -> list[BundleAction]:
        if serial <= self._serial:
            return []
        self._serial = serial
        return [RememberOffer(serial)]

    def _leave(self) -> list[BundleAction]:
        """Give up what is being done about another offer."""
        offer, download = self._offer, self._download
        self._offer = self._download = None
        if offer is None or download is None or not download.asked:
            return []
        return [LetGoBundle(offer.bundle, download.asked)]

    # The download

    def _fetch(self, offer: BundleOffer) -> list[BundleAction]:
        self._offer = offer
        self._download = download = ModelDownload(offer.transfer, self._limit_bytes)
        stored, self._stored = self._stored, None
        if stored is not None and stored.transfer == offer.transfer:
            archive = download.resume(stored.chunks)
            if archive is not None:
                return self._check(offer, archive)
        text = f"fetching the bundle {offer.bundle[:12]}..., {offer.transfer.payload_bytes} bytes"
        return [Tell(text, is_fault=False), FetchBundle(offer.bundle, download.ask())]

    def _on_chunk(self, bundle: str, number: int, data: bytes) -> list[BundleAction]:
        offer, download = self._offer, self._download
        if offer is None or download is None or bundle != offer.bundle:
            return []
        if number not in download.asked:
            return []
        try:
            archive = download.take(number, data)
        except ProtocolError as error:
            said = self._tell_once(f"the bundle {bundle[:12]}... came wrong: {error}")
            let_go = download.start_over(error)
            if let_go is None:
                return said
            return [*said, LetGoBundle(bundle, let_go), FetchBundle(bundle, download.ask())]
        actions: list[BundleAction] = [KeepBundleChunk(offer.transfer, number, data)]
        if archive is not None:
            let_go = tuple(sorted({*download.asked, number}))
            return [*actions, LetGoBundle(bundle, let_go), *self._check(offer, archive)]
        if number not in download.asked:
            actions.append(LetGoBundle(bundle, (number,)))
        more = download.ask()
        return [*actions, FetchBundle(bundle, more)] if more else actions

    def _check(self, offer: BundleOffer, archive: bytes) -> list[BundleAction]:
        self._download = None
        return [CheckBundle(offer, archive)]

    # The examination is over

    def _on_checked(self, bundle: str, fault: str | None) -> list[BundleAction]:
        offer = self._offer
        if offer is None or offer.bundle != bundle or self._download is not None:
            return []  # another offer has come since
        self._offer = None
        if fault is None:
            return [InstallBundle(offer)]
        self._refusals[bundle] = Refusal(offer.serial, fault)
        return [
            Tell(f"the bundle {bundle[:12]}... is refused: {fault}"),
            RememberRefusal(offer, fault),
            self._refused(offer, fault),
        ]

    # Words

    def _refused(self, offer: BundleOffer, detail: str) -> Report:
        return Report(BundleRefused(offer.serial, offer.bundle, self._boot_id, detail))

    def _tell_once(self, text: str) -> list[BundleAction]:
        if text in self._told:
            return []
        self._told.add(text)
        return [Tell(text)]
