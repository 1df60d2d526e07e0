"""Which bundle each device has, and what it said of the one that is offered.

A small file beside the registry, for `pfedfrz devices list`. What devices say goes to the disk now
and then rather than with every message: after a crash the next status says it again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import BundleInstalled, BundleRefused, OperationError

from .journal import Journal
from .read_only import open_read_only

__all__ = ["DeviceBundle", "DeviceBundles", "read_device_bundles"]

log = logging.getLogger(__name__)
_FILE = "device-bundles.sqlite"
_BUSY_S = 5.0
_MOST_NOTES = 8
"""Of one device in one life of the coordinator: who takes turns in its answers fills no disk."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundles (
    device TEXT PRIMARY KEY, bundle TEXT NOT NULL, at REAL NOT NULL,
    answered TEXT NOT NULL DEFAULT '', answer TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '') STRICT;
"""


@dataclass(frozen=True)
class DeviceBundle:
    """One device's."""

    bundle: str
    """Digest of what its last status named."""
    at: float
    """Unix seconds of the coordinator's clock, when that or the answer last changed."""
    answered: str = ""
    """Digest of the offered bundle that it gave an answer about; "" without an answer."""
    answer: str = ""
    """`installed` or `refused`."""
    detail: str = ""


class DeviceBundles:
    """What is known, in the coordinator's state directory."""

    def __init__(self, state_dir: Path) -> None:
        """Open, and make if need be; OperationError when the file cannot be used."""
        self._path = state_dir / _FILE
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_S)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._known = _rows(self._db)
        except sqlite3.Error as error:
            raise OperationError(f"cannot open {self._path}: {error}") from error
        self._changed: set[str] = set()
        self._notes: Counter[str] = Counter()

    def close(self) -> None:
        """Write what is not written, and close the file."""
        self.write_down()
        self._db.close()

    def has(self, device: str, bundle: str) -> None:
        """A device's status named its bundle."""
        known = self._known.get(device)
        if known is None or known.bundle != bundle:
            answer = (known.answered, known.answer, known.detail) if known else ("", "", "")
            self._put(device, DeviceBundle(bundle, time.time(), *answer))

    def answered(
        self, device: str, said: BundleInstalled | BundleRefused, journal: Journal
    ) -> None:
        """A device gave its answer to an offer; news go into the journal."""
        answer = "installed" if isinstance(said, BundleInstalled) else "refused"
        known = self._known.get(device, DeviceBundle("", 0.0))
        if (known.answered, known.answer, known.detail) == (said.bundle, answer, said.detail):
            return
        self._put(device, DeviceBundle(known.bundle, time.time(), said.bundle, answer, said.detail))
        self._notes[device] += 1
        if self._notes[device] <= _MOST_NOTES:
            text = f"{device} has {answer} the bundle {said.bundle[:12]}...: {said.detail}"
            log.info("%s", text)
            journal.note(text)

    def _put(self, device: str, row: DeviceBundle) -> None:
        self._known[device] = row
        self._changed.add(device)

    def write_down(self) -> None:
        """Put what has changed on the disk. OperationError when it refuses."""
        changed, self._changed = self._changed, set()
        if not changed:
            return
        rows = []
        for device in changed:
            row = self._known[device]
            rows.append((device, row.bundle, row.at, row.answered, row.answer, row.detail))
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO bundles VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise OperationError(f"{self._path}: {error}") from error


def read_device_bundles(state_dir: Path) -> dict[str, DeviceBundle]:
    """What is known of every device, by name; OperationError when the file is damaged."""
    path = state_dir / _FILE
    if not path.exists():
        return {}
    try:
        db = open_read_only(path)
        try:
            return _rows(db)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise OperationError(f"{path} cannot be read: {error}") from error


def _rows(db: sqlite3.Connection) -> dict[str, DeviceBundle]:
    columns = "device, bundle, at, answered, answer, detail"
    return {row[0]: DeviceBundle(*row[1:]) for row in db.execute(f"SELECT {columns} FROM bundles")}
