import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.round_metrics import summarize_round
from pfedfrz_coordinator.told_rounds import ToldRounds
from pfedfrz_protocol import (
    MAX_ROUNDS_TOLD,
    LocalReport,
    Purpose,
    RejectReason,
    RoundHistory,
    brief_round,
    decode_message,
    encode_message,
)


def close(journal: Journal, number: int) -> None:
    journal.open_round(number, Purpose.TRAIN, number - 1, "a", ("a", "b"))
    report = LocalReport(5, 0.25, 0.5, 1.5, downloaded_bytes=7, train_s=2.0)
    journal.record_report(number, "a", "offered", report)
    journal.accept(number, "a", 5, 0.5, 100)
    journal.reject(number, "b", RejectReason.NOT_FINITE, "NaN", 10)
    row = journal.round(number)
    assert row is not None
    journal.close_round(number, summarize_round(journal, row, {}))


def test_a_closed_round_is_told_in_a_line(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j.sqlite")) as journal:
        told = ToldRounds(journal)
        assert told.message() == RoundHistory(())
        close(journal, 1)
        told.closed(1)
        (brief,) = told.message().rounds
        row = journal.round(1)
    assert row is not None
    assert (brief.round, brief.closed_at, brief.selected) == (1, row.closed_at, 2)
    assert (brief.accepted, brief.rejected, brief.missing) == (1, 1, 0)
    assert (brief.received_mean, brief.local_mean, brief.loss_mean) == (0.25, 0.5, 1.5)
    assert (brief.uplink_bytes, brief.downlink_bytes, brief.train_s) == (110, 7, 2.0)


def test_after_a_restart_the_same_is_told_and_an_open_round_is_not(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j.sqlite")) as journal:
        told = ToldRounds(journal)
        for number in (1, 2, 3):
            close(journal, number)
            told.closed(number)
        journal.open_round(4, Purpose.TRAIN, 3, "a", ("a",))
        assert ToldRounds(journal).message() == told.message()
        assert [brief.round for brief in told.message().rounds] == [1, 2, 3]


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfedfrz_coordinator.told_rounds.MAX_ROUNDS_TOLD", 3)
    with closing(Journal(tmp_path / "j.sqlite")) as journal:
        told = ToldRounds(journal)
        for number in range(1, 6):
            close(journal, number)
            told.closed(number)
        for each in (told, ToldRounds(journal)):
            assert [brief.round for brief in each.message().rounds] == [3, 4, 5]


def test_a_full_history_of_impossible_clocks_is_a_valid_message(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j.sqlite")) as journal:
        close(journal, 1)
        (row,) = journal.rounds()
    assert row.metrics is not None
    rounds = [brief_round(row.metrics, (-1) ** n * 1e300) for n in range(MAX_ROUNDS_TOLD)]
    message = RoundHistory(tuple(rounds))
    payload = encode_message(message)
    assert decode_message(payload, RoundHistory) == message
    assert len(payload) < 100_000


def test_numbers_of_another_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with closing(Journal(path)) as journal:
        close(journal, 1)
        close(journal, 2)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rounds SET metrics = '{}' WHERE number = 1")
    with closing(Journal(path)) as journal:
        assert [brief.round for brief in ToldRounds(journal).message().rounds] == [2]
