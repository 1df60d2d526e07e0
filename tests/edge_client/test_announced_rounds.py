"""Which announcements are news, and which end is the end."""

import pytest

from pfedfrz_edge.announced_rounds import AnnouncedRounds
from pfedfrz_edge.session_exchange import AnnouncementSeen
from pfedfrz_protocol import (
    Control,
    DesiredState,
    ModelReference,
    Purpose,
    RoundAnnouncement,
    describe_transfer,
)

MINE, OTHER = "a" * 64, "b" * 64
MODEL = ModelReference(0, "c" * 64, describe_transfer(b"model"))


def seen(
    number: int, epoch: int = 1, bundle: str = MINE, *, retained: bool = False
) -> AnnouncementSeen:
    announcement = RoundAnnouncement(number, epoch, bundle, Purpose.TRAIN, MODEL, ("me",), 9.0)
    return AnnouncementSeen(announcement, "signer", retained)


def test_the_newest_is_followed_and_nothing_older() -> None:
    mine = AnnouncedRounds(MINE)
    assert (mine.round, mine.epoch, mine.signer) == (0, 0, "")
    assert mine.is_news(seen(2, 5))
    mine.follow(seen(2, 5))
    assert (mine.round, mine.epoch, mine.signer) == (2, 5, "signer")
    assert not mine.is_news(seen(1, 5))
    assert not mine.is_news(seen(9, 4))
    assert mine.is_news(seen(2, 5))
    assert mine.is_news(seen(1, 6))


def test_what_a_broker_held_from_before_the_settled_round_is_no_news() -> None:
    mine = AnnouncedRounds(MINE, (3, 7))
    assert not mine.is_news(seen(6, 3, retained=True))
    assert mine.is_news(seen(6, 3))  # said now: a clock may have been set back
    assert mine.is_news(seen(7, 3, retained=True))
    assert mine.is_settled(seen(7, 3).announcement)
    assert not mine.is_settled(seen(8, 3).announcement)


def test_a_round_is_settled_in_the_epoch_of_now() -> None:
    mine = AnnouncedRounds(MINE)
    mine.follow(seen(4, 9))
    mine.settle(3)
    assert mine.is_settled(seen(3, 9).announcement)
    assert not mine.is_settled(seen(4, 9).announcement)


def test_each_foreign_bundle_is_complained_of_once() -> None:
    mine = AnnouncedRounds(MINE)
    foreign = seen(1, bundle=OTHER).announcement
    assert mine.is_foreign(foreign)
    assert not mine.is_foreign(seen(1).announcement)
    assert len(mine.refuse(foreign)) == 1
    assert mine.refuse(foreign) == []


@pytest.mark.parametrize(
    ("retained", "heard", "epoch", "ends"),
    [
        (False, False, 1, True),
        (True, False, 1, False),
        (True, True, 1, True),
        (False, True, 0, False),
    ],
)
def test_the_end_of_an_earlier_run_ends_nothing(
    retained: bool, heard: bool, epoch: int, ends: bool
) -> None:
    mine = AnnouncedRounds(MINE)
    if heard:
        assert mine.is_news(seen(1))
        mine.follow(seen(1))
    assert mine.ends_with(Control(DesiredState.STOP, epoch), retained=retained) is ends
