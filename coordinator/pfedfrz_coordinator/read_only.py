"""Opening a coordinator's SQLite files to read them, while it runs or long after."""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["open_read_only"]

_BUSY_S = 5.0


def open_read_only(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """A connection that cannot write, and puts no file beside a database that nobody has open.

    Only the thread that made it may use it, or with `any_thread` one after the other.
    sqlite3.Error when the file is not there or cannot be read.
    """
    # Without a log of open changes the file cannot change under the reader, and SQLite need not
    # put files of its own beside it.
    settled = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{settled}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=not any_thread)
