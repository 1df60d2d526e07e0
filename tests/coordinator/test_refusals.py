from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.refusals import Refusals
from pfedfrz_protocol import Purpose, Rejected, RejectReason

VERDICT = Rejected(1, 1, RejectReason.NOT_FINITE, "nan in conv.weight")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.open_round(1, Purpose.TRAIN, 0, "0" * 64, ("a", "b"))
    yield journal
    journal.close()


def rejected(journal: Journal) -> list[str]:
    return [row.device for row in journal.members(1) if row.status == "rejected"]


def test_a_refused_update_is_written_down_once_and_held_against_who_signed_it(
    journal: Journal,
) -> None:
    refusals = Refusals(journal)
    refusals.add("a", 100, is_signed=True)
    refusals.add("b", 100, is_signed=False)
    assert refusals.write_down("a", VERDICT)
    assert not refusals.write_down("b", VERDICT)
    assert rejected(journal) == ["a", "b"]
    assert not refusals.write_down("a", VERDICT)


def test_a_verdict_on_what_was_not_refused_here_is_not_written_down(journal: Journal) -> None:
    refusals = Refusals(journal)
    late = Rejected(1, 1, RejectReason.LATE, "too late")
    assert not refusals.write_down("a", late)
    refusals.add("a", 100, is_signed=True)
    refusals.clear()
    assert not refusals.write_down("a", VERDICT)
    assert rejected(journal) == []


def test_an_offer_from_another_model_is_the_devices_own_word(journal: Journal) -> None:
    wrong = Rejected(1, 1, RejectReason.WRONG_BASE, "another model")
    assert Refusals(journal).write_down("a", wrong)
    assert rejected(journal) == ["a"]
