"""What a coordinator retains of an adopted bundle, and what it clears."""

from identities import COORDINATOR, key_of
from tiny_bundle import make_bundle

from pfedfrz_coordinator.bundle_offering import BundleUpdatePolicy, Offered, publish_offer
from pfedfrz_protocol import BundleOffer, Topics, open_signed, read_bundle
from pfedfrz_transport import MemoryBroker, MemoryLink

TOPICS = Topics("lab")
BUNDLE, OLD = make_bundle(), "a" * 64
DIGEST = BUNDLE.manifest.digest
ADOPTED = Offered(5, 1, {OLD: 2}, (3, 2))


def retained(
    offered: Offered,
    policy: BundleUpdatePolicy | None = None,
    *,
    is_first_start: bool = True,
) -> dict[str, bytes]:
    """What the broker has afterwards; before, it had the leftovers of another bundle."""
    broker = MemoryBroker()
    link = MemoryLink(broker, "coordinator")
    link.start()
    for topic in (
        *(TOPICS.bundle_chunk(OLD, n) for n in range(2)),
        *(TOPICS.model_chunk(3, n) for n in range(2)),
    ):
        link.publish_retained(topic, b"old")
    publish_offer(
        link,
        TOPICS,
        key_of(COORDINATOR),
        BUNDLE,
        offered,
        policy or BundleUpdatePolicy(),
        is_first_start=is_first_start,
    )
    link.close()
    return dict(broker.retained())


def test_a_first_bundle_is_not_offered() -> None:
    assert TOPICS.bundle not in retained(Offered())


def test_an_adopted_one_is_offered_with_its_chunks_and_old_ones_are_cleared() -> None:
    found = retained(ADOPTED)
    assert set(found) == {TOPICS.bundle, TOPICS.bundle_chunk(DIGEST, 0)}
    key = key_of(COORDINATOR).public
    offer = open_signed(found[TOPICS.bundle], BundleOffer, TOPICS.bundle, key, "not ours")
    archive = found[TOPICS.bundle_chunk(DIGEST, 0)]
    assert (offer.serial, offer.bundle) == (5, DIGEST)
    assert offer.transfer.payload_bytes == len(archive)
    assert read_bundle(archive, "it").manifest == BUNDLE.manifest


def test_models_of_this_bundle_are_never_cleared() -> None:
    found = retained(ADOPTED, is_first_start=False)
    assert TOPICS.model_chunk(3, 0) in found


def test_told_not_to_it_takes_the_offer_away() -> None:
    assert retained(ADOPTED, BundleUpdatePolicy(offer=False), is_first_start=False) == {
        TOPICS.model_chunk(3, n): b"old" for n in range(2)
    }
