"""The offer of an adopted bundle to the devices, and what is known of it in the journal.

Only a bundle that was adopted is offered: the first one of a federation came to the devices by
another way. Offer and chunks stay retained when the coordinator ends, so that a device which was
away finds them.
"""

from __future__ import annotations

import msgspec

from pfedfrz_protocol import (
    Bundle,
    BundleOffer,
    OperationError,
    SigningKey,
    Topics,
    decode_json,
    describe_transfer,
    sign_message,
    split_chunks,
    write_bundle,
)
from pfedfrz_transport import Link

from .journal import Journal

__all__ = ["BundleUpdatePolicy", "Offered", "load_offered", "publish_offer", "save_offered"]

_FACT = "offered"
_TAG = "bundle"


class BundleUpdatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[bundle_updates]`."""

    offer: bool = True
    """Whether devices are offered a bundle that was adopted."""


class Offered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a coordinator knows of its own offers."""

    serial: int = 0
    """Of the bundle in use; 0 for one that was never adopted."""
    chunks: int = 0
    """How many it has."""
    bundles: dict[str, int] = {}
    """Bundles that were offered before, and how many chunks of each were retained."""
    model: tuple[int, int] | None = None
    """The last model version of the bundle before, and how many chunks were retained."""


def load_offered(journal: Journal) -> Offered:
    """What the journal says; OperationError when it is damaged."""
    text = journal.fact(_FACT)
    try:
        return decode_json(text, Offered) if text else Offered()
    except msgspec.DecodeError as error:
        raise OperationError(f"the journal is damaged: {_FACT}: {error}") from error


def save_offered(journal: Journal, offered: Offered) -> None:
    """Write it down."""
    journal.set_fact(_FACT, msgspec.json.encode(offered).decode())


def publish_offer(
    link: Link,
    topics: Topics,
    key: SigningKey,
    bundle: Bundle,
    offered: Offered,
    policy: BundleUpdatePolicy,
    *,
    is_first_start: bool,
) -> None:
    """Retain the offer of an adopted bundle, and clear what was retained of those before.

    `is_first_start`: no round was opened with it yet, so that a model of before is nobody's.
    """
    if not offered.serial:
        return
    digest = bundle.manifest.digest
    for old, count in offered.bundles.items():
        for number in range(count):
            link.clear_retained(topics.bundle_chunk(old, number))
    if offered.model is not None and is_first_start:
        version, count = offered.model
        for number in range(count):
            link.clear_retained(topics.model_chunk(version, number))
    if not policy.offer:
        link.clear_retained(topics.bundle)
        for number in range(offered.chunks):
            link.clear_retained(topics.bundle_chunk(digest, number))
        return
    archive = write_bundle(bundle.manifest, bundle.files)
    items = [(topics.bundle_chunk(digest, n), c) for n, c in enumerate(split_chunks(archive))]
    link.publish_bulk(items, tag=_TAG, retained=True)
    offer = BundleOffer(offered.serial, digest, describe_transfer(archive))
    link.publish_retained(topics.bundle, sign_message(offer, topics.bundle, key))
