import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_protocol import Purpose


@pytest.fixture(params=["cosine", "stale"])
def older(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A journal as the version before that column wrote it."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.open_round(1, Purpose.TRAIN, 0, "a", ("x",))
    journal.accept(1, "x", 5, 0.5, 100)
    journal.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("ALTER TABLE members DROP COLUMN cosine")
        if request.param == "stale":
            db.execute("ALTER TABLE members DROP COLUMN stale")
    yield path
    shutil.rmtree(tmp_path)


def test_a_journal_of_an_earlier_version_is_read_as_it_is(older: Path) -> None:
    before = older.read_bytes()
    with closing(Journal(older, read_only=True)) as journal:
        (row,) = journal.members(1)
    assert (row.status, row.samples, row.norm, row.stale, row.cosine) == (
        "accepted", 5, 0.5, 0, None
    )  # fmt: skip
    assert older.read_bytes() == before


def test_a_journal_of_an_earlier_version_takes_what_it_had_no_place_for(older: Path) -> None:
    with closing(Journal(older)) as journal:
        journal.accept_all(1, [("x", 5, 0.5, 100, 2)])
        journal.record_cosines(1, {"x": -0.25})
    for read_only in (False, True):
        with closing(Journal(older, read_only=read_only)) as journal:
            (row,) = journal.members(1)
            assert (row.stale, row.cosine) == (2, -0.25)


def test_cosines_of_a_model_that_is_made_again_replace_those_of_before(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j.sqlite")) as journal:
        journal.open_round(1, Purpose.TRAIN, 0, "a", ("x", "y"))
        journal.record_cosines(1, {"x": 0.5, "y": 0.25})
        journal.record_cosines(1, {"y": 0.75, "stranger": 1.0})
        assert [row.cosine for row in journal.members(1)] == [None, 0.75]
