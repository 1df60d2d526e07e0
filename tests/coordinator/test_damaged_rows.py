"""A journal or a registry whose rows are not what was written: one line, never a traceback."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.registry import Registry
from pfedfrz_protocol import OperationError, Purpose


def write(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE members SET report = '{'", lambda journal: journal.members(1)),
        ("UPDATE members SET report = '{\"samples\":-1}'", lambda journal: journal.members(1)),
        ("UPDATE rounds SET purpose = 'conquer'", lambda journal: journal.rounds()),
        ("UPDATE rounds SET purpose = 'conquer'", lambda journal: journal.round(1)),
        (
            "INSERT INTO rejects VALUES (1, 'a', 'mood', '', 1, 1.0)",
            lambda journal: journal.rejects(),
        ),
        ("UPDATE facts SET value = CAST(x'ff' AS TEXT)", lambda journal: journal.fact("epoch")),
    ],
)
def test_damaged_row_of_the_journal_is_an_operation_error(
    tmp_path: Path, statement: str, read: Callable[[Journal], object]
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.open_round(1, Purpose.TRAIN, 0, "0" * 64, ("a",))
    journal.set_fact("epoch", "1")
    journal.close()
    write(path, statement)
    journal = Journal(path)
    try:
        with pytest.raises(OperationError, match=r"journal\.sqlite is damaged: .*backup"):
            read(journal)
    finally:
        journal.close()


def test_device_of_unknown_standing_is_an_operation_error(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.enrol("pi", "0" * 64)
    write(tmp_path / "devices.sqlite", "UPDATE devices SET standing = 'king'")
    try:
        for read in (registry.rows, lambda: registry.find("pi")):
            with pytest.raises(OperationError, match=r"devices\.sqlite is damaged: 'king'"):
                read()
    finally:
        registry.close()
