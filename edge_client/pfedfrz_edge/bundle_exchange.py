"""What goes into a device's decisions about bundles and what comes out: events and actions."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import BundleInstalled, BundleOffer, BundleRefused, TransferReference

__all__ = [
    "BundleAction",
    "BundleChecked",
    "BundleChunkSeen",
    "BundleEvent",
    "CheckBundle",
    "FetchBundle",
    "InstallBundle",
    "KeepBundleChunk",
    "LetGoBundle",
    "OfferSeen",
    "RememberOffer",
    "RememberRefusal",
    "Report",
    "Standing",
    "Tell",
]


# Events


@dataclass(frozen=True)
class OfferSeen:
    """An offer that our coordinator has signed, perhaps one that was seen before."""

    offer: BundleOffer


@dataclass(frozen=True)
class BundleChunkSeen:
    """A chunk of a bundle."""

    bundle: str
    number: int
    data: bytes


@dataclass(frozen=True)
class BundleChecked:
    """The examination of a downloaded bundle is over; `fault` says why it does not work here."""

    bundle: str
    fault: str | None


BundleEvent = OfferSeen | BundleChunkSeen | BundleChecked


# Actions


@dataclass(frozen=True)
class FetchBundle:
    """Subscribe to these chunks of a bundle."""

    bundle: str
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class LetGoBundle:
    """Unsubscribe from these chunks."""

    bundle: str
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class KeepBundleChunk:
    """Put a chunk on the disk, so that a restart need not fetch it again."""

    transfer: TransferReference
    number: int
    data: bytes


@dataclass(frozen=True)
class CheckBundle:
    """Find out, apart from this process, whether the archive works here; answer BundleChecked."""

    offer: BundleOffer
    archive: bytes


@dataclass(frozen=True)
class InstallBundle:
    """Go over to the bundle that was checked."""

    offer: BundleOffer


@dataclass(frozen=True)
class RememberOffer:
    """Keep on the disk that this serial was seen, and whether nothing is left to do about it."""

    serial: int
    is_followed: bool = False


@dataclass(frozen=True)
class RememberRefusal:
    """Keep that an offer was refused, until the next start of the process."""

    offer: BundleOffer
    detail: str


@dataclass(frozen=True)
class Report:
    """Publish this answer."""

    answer: BundleInstalled | BundleRefused


@dataclass(frozen=True)
class Tell:
    """Tell the person who reads the log."""

    text: str
    is_fault: bool = True


BundleAction = (
    FetchBundle
    | LetGoBundle
    | KeepBundleChunk
    | CheckBundle
    | InstallBundle
    | RememberOffer
    | RememberRefusal
    | Report
    | Tell
)


@dataclass(frozen=True)
class Standing:
    """What the disk, and this process before, know of offers."""

    own: str
    """Digest of the bundle in use."""
    serial: int = 0
    """The highest that was seen."""
    followed: int = 0
    """The highest about which nothing is left to do: installed, or a person chose otherwise."""
    installed: str | None = None
    """What is said of the bundle in use, if an offer brought it."""
