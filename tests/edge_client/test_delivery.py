"""What a device says of the rounds that it did, and what it forgets."""

from pfedfrz_edge.delivery import Delivery
from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_edge.session_exchange import (
    Announce,
    Complain,
    ForgetPending,
    KeepPending,
    RememberSettled,
    UpdateAccepted,
    Upload,
)
from pfedfrz_protocol import (
    CHUNK_BYTES,
    Accepted,
    Evaluated,
    Grant,
    LocalReport,
    ModelReference,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    UpdateReady,
    describe_transfer,
)

REPORT = LocalReport(100, 0.5, 0.6)
UPDATE = PendingUpdate(3, "c" * 64, REPORT, bytes(CHUNK_BYTES) + b"end")
READY = UpdateReady(3, 8, "boot", "c" * 64, describe_transfer(UPDATE.payload), REPORT)


def announced(
    number: int = 3, digest: str = "c" * 64, purpose: Purpose = Purpose.TRAIN
) -> RoundAnnouncement:
    model = ModelReference(0, digest, describe_transfer(b"model"))
    return RoundAnnouncement(number, 1, "a" * 64, purpose, model, ("me",), 9.0)


def test_an_update_is_kept_before_it_is_offered_and_offered_again_the_same() -> None:
    mine = Delivery("boot")
    assert mine.offer(8) == []
    assert mine.keep(UPDATE, 8) == [KeepPending(UPDATE), Announce(READY)]
    assert mine.offer(8) == mine.offer(8) == [Announce(READY)]


def test_the_update_of_an_earlier_life_is_good_for_its_round_and_model_only() -> None:
    mine = Delivery("boot", UPDATE)
    assert mine.has_update_for(announced())
    assert not mine.has_update_for(announced(4))
    assert not mine.has_update_for(announced(digest="d" * 64))
    assert not mine.has_update_for(announced(purpose=Purpose.EVALUATE))
    assert not Delivery("boot").has_update_for(announced())
    assert mine.forget_update() == [ForgetPending()]
    assert mine.forget_update() == []


def test_a_grant_sends_what_it_names_and_everything_when_it_names_nothing() -> None:
    mine = Delivery("boot", UPDATE)
    assert mine.granted(Grant(3, 8)) == [Upload(3, UPDATE.payload, (0, 1))]
    assert mine.granted(Grant(3, 8, ((1, 1),))) == [Upload(3, UPDATE.payload, (1,))]
    assert Delivery("boot").granted(Grant(3, 8)) == []


def test_after_either_verdict_nothing_waits() -> None:
    mine = Delivery("boot", UPDATE)
    over = [RememberSettled(3, 8), ForgetPending()]
    assert mine.settled(Accepted(3, 8)) == [UpdateAccepted(3), *over]
    assert mine.offer(8) == []
    mine = Delivery("boot", UPDATE)
    said, *rest = mine.settled(Rejected(3, 8, RejectReason.WRONG_DIGEST, "damaged"))
    assert isinstance(said, Complain)
    assert "damaged" in said.text
    assert rest == over
    assert mine.offer(8) == []


def test_an_answer_is_said_again_until_another_round_begins() -> None:
    mine = Delivery("boot")
    assert mine.answer_again() == []
    evaluated = [Announce(Evaluated(3, 8, "boot", REPORT))]
    assert mine.evaluated(3, 8, REPORT) == mine.answer_again() == evaluated
    mine.forget_answer()
    assert mine.answer_again() == []


def test_a_round_that_failed_has_an_answer_and_no_update() -> None:
    mine = Delivery("boot", UPDATE)
    failed = Announce(RoundFailed(3, 8, "boot", "full"))
    assert mine.failed(3, 8, "full") == [Complain("round 3: full"), failed]
    assert mine.answer_again() == [failed]
    assert mine.offer(8) == []
