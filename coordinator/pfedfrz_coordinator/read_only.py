"""Opening a coordinator's SQLite files to read them, while it runs or long after."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

__all__ = ["open_read_only"]

_BUSY_S = 5.0
_LONGEST_VALUE = 64 << 20
"""Bytes of one value; the longest that is written are a round's numbers."""


def open_read_only(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """A connection that cannot write, and puts no file beside a database that nobody has open.

    Only the thread that made it may use it, or with `any_thread` one after the other.
    sqlite3.Error when the file is not there or cannot be read, or is none that we wrote: a pipe
    would be waited for, and a view in place of a table can have rows without end.
    """
    if path.exists() and not path.is_file():
        raise sqlite3.OperationalError(f"{path.name} is no regular file")
    # Without a log of open changes the file cannot change under the reader, and SQLite need not
    # put files of its own beside it.
    settled = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{settled}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=not any_thread)
    try:
        if sys.version_info >= (3, 11):
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        (foreign,) = db.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type IN ('view', 'trigger') "
            "OR sql LIKE 'CREATE VIRTUAL%' OR sql LIKE '%GENERATED%'"
        ).fetchone()
        if foreign:
            raise sqlite3.DatabaseError("it has views or triggers, which pfedfrz never makes")
    except BaseException:
        db.close()
        raise
    return db
