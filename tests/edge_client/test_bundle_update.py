"""What a device makes of offers: cases, and any order of events."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pfedfrz_edge.bundle_exchange import (
    BundleAction,
    BundleChecked,
    BundleChunkSeen,
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
from pfedfrz_edge.bundle_record import Refusal
from pfedfrz_edge.bundle_update import BundleUpdate
from pfedfrz_edge.download_store import StoredDownload
from pfedfrz_edge.update_policy import OfferPolicy
from pfedfrz_protocol import (
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    describe_transfer,
    split_chunks,
)

OWN, OTHER, THIRD = "0" * 64, "a" * 64, "b" * 64
ARCHIVE = bytes(range(256)) * 4096  # four chunks
CHUNKS = split_chunks(ARCHIVE)
NOTHING_SEEN = Standing(OWN)
OFFER = BundleOffer(5, OTHER, describe_transfer(ARCHIVE))
LIMIT = 1 << 21


def device(
    standing: Standing = NOTHING_SEEN,
    refusals: dict[str, Refusal] | None = None,
    policy: OfferPolicy = OfferPolicy.PINNED,
    *,
    is_pinned: bool = True,
    stored: StoredDownload | None = None,
) -> BundleUpdate:
    return BundleUpdate(
        standing, refusals or {}, "boot", policy,
        is_pinned=is_pinned, limit_bytes=LIMIT, stored=stored,
    )  # fmt: skip


def fetched(update: BundleUpdate) -> list[BundleAction]:
    """Answer all that is asked for, until something else comes."""
    actions = list[BundleAction]()
    for number, chunk in enumerate(CHUNKS):
        actions += update.handle(BundleChunkSeen(OTHER, number, chunk))
    return actions


def refusal_in(actions: list[BundleAction]) -> str:
    (report,) = [a for a in actions if isinstance(a, Report)]
    assert isinstance(report.answer, BundleRefused)
    return report.answer.detail


def kinds(actions: list[BundleAction]) -> list[type]:
    return [type(action) for action in actions]


def test_an_offer_is_fetched_kept_checked_and_installed() -> None:
    update = device()
    assert update.handle(OfferSeen(OFFER))[::2] == [
        RememberOffer(5), FetchBundle(OTHER, (0, 1, 2, 3)),
    ]  # fmt: skip
    actions = fetched(update)
    assert [a.number for a in actions if isinstance(a, KeepBundleChunk)] == [0, 1, 2, 3]
    assert actions[-1] == CheckBundle(OFFER, ARCHIVE)
    assert update.handle(BundleChecked(OTHER, None)) == [InstallBundle(OFFER)]


def test_what_was_kept_of_a_download_is_not_fetched_again() -> None:
    stored = StoredDownload(OFFER.transfer, dict(enumerate(CHUNKS[:3])))
    assert device(stored=stored).handle(OfferSeen(OFFER))[-1] == FetchBundle(OTHER, (3,))
    whole = StoredDownload(OFFER.transfer, dict(enumerate(CHUNKS)))
    assert device(stored=whole).handle(OfferSeen(OFFER))[-1] == CheckBundle(OFFER, ARCHIVE)


def test_an_offer_seen_again_asks_for_what_is_missing_and_nothing_while_it_is_checked() -> None:
    update = device()
    update.handle(OfferSeen(OFFER))
    update.handle(BundleChunkSeen(OTHER, 1, CHUNKS[1]))
    assert update.handle(OfferSeen(OFFER)) == [FetchBundle(OTHER, (0, 2, 3))]
    fetched(update)
    assert update.handle(OfferSeen(OFFER)) == []


def test_a_fault_is_answered_told_and_not_looked_into_again() -> None:
    update = device()
    update.handle(OfferSeen(OFFER))
    fetched(update)
    actions = update.handle(BundleChecked(OTHER, "its gradients are NaN"))
    assert kinds(actions) == [Tell, RememberRefusal, Report]
    for _ in range(3):
        assert update.handle(OfferSeen(OFFER)) == [
            Report(BundleRefused(5, OTHER, "boot", "its gradients are NaN"))
        ]
    again = msgspec.structs.replace(OFFER, serial=6)
    assert FetchBundle in kinds(update.handle(OfferSeen(again)))


@pytest.mark.parametrize("serial", [0, 3, 4])
def test_an_old_offer_that_a_broker_brings_back_does_nothing(serial: int) -> None:
    update = device(Standing(OWN, serial=5, followed=5))
    old = msgspec.structs.replace(OFFER, serial=serial)
    assert kinds(update.handle(OfferSeen(old))) == [Tell]
    assert update.handle(OfferSeen(old)) == []


def test_an_old_offer_is_also_ignored_when_the_newer_one_was_not_followed() -> None:
    update = device(Standing(OWN, serial=7, followed=5))
    assert kinds(update.handle(OfferSeen(msgspec.structs.replace(OFFER, serial=6)))) == [Tell]


def test_a_bundle_that_a_person_chose_stays_until_a_newer_offer() -> None:
    update = device(Standing(OWN, serial=5, followed=5))
    assert kinds(update.handle(OfferSeen(OFFER))) == [Tell]
    newer = msgspec.structs.replace(OFFER, serial=6)
    assert FetchBundle in kinds(update.handle(OfferSeen(newer)))


def test_the_offer_of_its_own_bundle_is_answered_if_an_offer_brought_it() -> None:
    offer = BundleOffer(5, OWN, OFFER.transfer)
    by_hand = device()
    assert by_hand.handle(OfferSeen(offer)) == [RememberOffer(5, is_followed=True)]
    assert by_hand.handle(OfferSeen(offer)) == []
    installed = device(Standing(OWN, 5, 5, "all carried over"))
    answer = Report(BundleInstalled(5, OWN, "boot", "all carried over"))
    assert installed.handle(OfferSeen(offer)) == [answer]


def test_a_bundle_that_was_tried_and_failed_is_refused_until_it_is_offered_anew() -> None:
    tried = {OTHER: Refusal(5, "tried", lasting=True)}
    update = device(Standing(OWN, 5, 5), tried)
    assert refusal_in(update.handle(OfferSeen(OFFER))) == "tried"
    newer = msgspec.structs.replace(OFFER, serial=6)
    assert FetchBundle in kinds(update.handle(OfferSeen(newer)))


@pytest.mark.parametrize(
    ("policy", "is_pinned", "says"),
    [
        (OfferPolicy.NEVER, True, 'bundles = "never"'),
        (OfferPolicy.PINNED, False, "set coordinator_key"),
        (OfferPolicy.PINNED, True, None),
        (OfferPolicy.TRUSTED, False, None),
    ],
)
def test_whose_bundles_are_taken_is_a_setting(
    policy: OfferPolicy, is_pinned: bool, says: str | None
) -> None:
    actions = device(policy=policy, is_pinned=is_pinned).handle(OfferSeen(OFFER))
    if says is None:
        assert FetchBundle in kinds(actions)
    else:
        assert says in refusal_in(actions)
        assert RememberOffer not in kinds(actions)


@pytest.mark.parametrize("size", [0, LIMIT + 1, 1 << 48])
def test_an_archive_of_an_impossible_size_is_not_fetched(size: int) -> None:
    transfer = msgspec.structs.replace(OFFER.transfer, payload_bytes=size)
    offer = BundleOffer(5, OTHER, transfer)
    assert f"has {size} bytes" in refusal_in(device().handle(OfferSeen(offer)))


def test_a_chunk_that_lies_is_told_once_and_the_right_one_is_taken_in_the_end() -> None:
    update, told, checked = device(), 0, False
    update.handle(OfferSeen(OFFER))
    lie = bytes(len(CHUNKS[2]))
    for _ in range(6):
        for number, chunk in enumerate([CHUNKS[0], CHUNKS[1], lie, CHUNKS[3]]):
            actions = update.handle(BundleChunkSeen(OTHER, number, chunk))
            told += kinds(actions).count(Tell)
            assert CheckBundle not in kinds(actions)
    for number, chunk in enumerate(CHUNKS):
        checked |= CheckBundle in kinds(update.handle(BundleChunkSeen(OTHER, number, chunk)))
    assert (told, checked) == (1, True)


def test_a_newer_offer_takes_the_place_of_one_under_way() -> None:
    update = device()
    update.handle(OfferSeen(OFFER))
    newer = BundleOffer(6, THIRD, OFFER.transfer)
    actions = update.handle(OfferSeen(newer))
    assert actions[0] == LetGoBundle(OTHER, (0, 1, 2, 3))
    assert actions[-1] == FetchBundle(THIRD, (0, 1, 2, 3))
    assert fetched(update) == []


def test_the_end_of_a_check_that_nobody_waits_for_any_more_is_ignored() -> None:
    update = device()
    update.handle(OfferSeen(OFFER))
    fetched(update)
    update.handle(OfferSeen(BundleOffer(6, THIRD, OFFER.transfer)))
    assert update.handle(BundleChecked(OTHER, None)) == []


# Any order

BUNDLES = (OWN, OTHER, THIRD)
WHOLE = {digest: bytes([n]) * 300_000 for n, digest in enumerate(BUNDLES)}
OFFERS = st.builds(
    lambda serial, digest, size: BundleOffer(
        serial,
        digest,
        msgspec.structs.replace(
            describe_transfer(WHOLE[digest]), payload_bytes=size or len(WHOLE[digest])
        ),
    ),
    st.integers(0, 6),
    st.sampled_from(BUNDLES),
    st.sampled_from([None, None, None, 0, LIMIT + 1]),
)


class OfferMachine(RuleBasedStateMachine):
    """A broker that says what it likes, and a disk that remembers over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.standing = Standing(OWN)
        self.refusals: dict[str, Refusal] = {}
        self.highest = 0
        self.start()

    def start(self) -> None:
        self.update = device(self.standing, self.refusals)
        self.asked: set[tuple[str, int]] = set()
        self.checking: BundleOffer | None = None
        self.is_over = False

    def take(self, actions: list[BundleAction]) -> None:
        for action in actions:
            match action:
                case FetchBundle(bundle, chunks):
                    self.asked |= {(bundle, n) for n in chunks}
                case LetGoBundle(bundle, chunks):
                    self.asked -= {(bundle, n) for n in chunks}
                case CheckBundle(offer, archive):
                    assert archive == WHOLE[offer.bundle]
                    self.checking = offer
                case RememberOffer(serial, followed):
                    assert serial >= self.standing.serial
                    self.standing = Standing(
                        self.standing.own, serial, serial if followed else self.standing.followed,
                        self.standing.installed,
                    )  # fmt: skip
                case InstallBundle(offer):
                    assert offer == self.checking
                    assert offer.bundle != self.standing.own
                    assert offer.serial >= self.highest  # never back by an old offer
                    assert offer.serial > self.standing.followed
                    self.standing = Standing(offer.bundle, offer.serial, offer.serial, "carried")
                    self.is_over = True
                case Report(answer):
                    assert (answer.bundle == self.standing.own) == (
                        isinstance(answer, BundleInstalled)
                    )
        reports = sum(isinstance(action, Report) for action in actions)
        assert reports <= 1
        if self.is_over:
            self.start()

    @rule(offer=OFFERS)
    def offered(self, offer: BundleOffer) -> None:
        actions = self.update.handle(OfferSeen(offer))
        if FetchBundle in kinds(actions) or CheckBundle in kinds(actions):
            assert offer.serial >= self.highest
            self.highest = offer.serial
        self.take(actions)

    @rule(digest=st.sampled_from(BUNDLES), number=st.integers(0, 2), lies=st.booleans())
    def chunk(self, digest: str, number: int, lies: bool) -> None:
        parts = split_chunks(WHOLE[digest])
        data = parts[min(number, len(parts) - 1)]
        self.take(
            self.update.handle(BundleChunkSeen(digest, number, b"x" * len(data) if lies else data))
        )

    @rule(digest=st.sampled_from(BUNDLES), fault=st.sampled_from([None, None, "no"]))
    def examined(self, digest: str, fault: str | None) -> None:
        if self.checking is not None and self.checking.bundle == digest:
            self.take(self.update.handle(BundleChecked(digest, fault)))

    @rule()
    def killed(self) -> None:
        self.start()

    @invariant()
    def nothing_is_asked_for_without_an_offer(self) -> None:
        assert len({bundle for bundle, _ in self.asked}) <= 1


TestAnyOrder = OfferMachine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
