"""The devices that a federation knows: their keys, their standing, and what they have done.

One SQLite file beside the journal, so that a person's command can change it while the coordinator
runs; the coordinator notices by `changed`. A revoked key stays revoked for ever, under every name.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError, check_name, is_public_key

from .read_only import open_read_only

__all__ = ["Registry", "RegistryRow", "Standing", "read_registry"]

_FILE = "devices.sqlite"
_BUSY_S = 5.0
_MOST_WAITING = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS devices (
    name TEXT PRIMARY KEY, key TEXT NOT NULL, origin TEXT NOT NULL, standing TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', since REAL NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    ignored INTEGER NOT NULL DEFAULT 0, waiting_for TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE IF NOT EXISTS revoked (key TEXT PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)
    STRICT;
"""


class Standing(str, enum.Enum):
    """What a coordinator makes of a device."""

    ENROLLED = "enrolled"
    """Its updates are welcome."""
    WAITING = "waiting"
    """It has asked, and nobody has let it in."""
    QUARANTINED = "quarantined"
    """It has failed too often; `readmit` lets it back."""
    REVOKED = "revoked"
    """Its key is good for nothing any more; `accept` with another key lets it back."""


@dataclass(frozen=True)
class RegistryRow:
    """One device."""

    name: str
    key: str
    origin: str
    """The key that it was enrolled with; differs from `key` after a rotation."""
    standing: Standing
    reason: str
    since: float
    """Unix seconds of the coordinator's clock, when its standing last changed."""
    failures: int
    """Refused updates and failed rounds in a row."""
    accepted: int
    rejected: int
    messages: int
    bytes: int
    ignored: int
    """Messages that were not even looked into."""
    waiting_for: str = ""
    """Why the device does not train now, as it said; empty when it does, or is not there."""


_ADDED = {"waiting_for": "TEXT NOT NULL DEFAULT ''"}
"""Columns that a file of an earlier version may lack."""
_COLUMNS = ", ".join(RegistryRow.__dataclass_fields__)


class Registry:
    """The registry of one federation, in its coordinator's state directory."""

    def __init__(self, state_dir: Path, *, create: bool = True) -> None:
        """Open, and make if need be; OperationError when the file cannot be used.

        Without `create`, a file that is not there is a ConfigurationError.
        """
        self._path = state_dir / _FILE
        if not create and not self._path.exists():
            raise ConfigurationError(
                f"{self._path} does not exist: start the coordinator once, or check its state_dir"
            )
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_S)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._add_columns()
        except (sqlite3.Error, OSError) as error:
            raise OperationError(f"cannot open the registry {self._path}: {error}") from error
        self._seen_version = self._data_version()

    def _add_columns(self) -> None:
        rows = self._db.execute("SELECT name FROM pragma_table_info('devices')")
        known = {str(name) for (name,) in rows}
        for name, kind in _ADDED.items():
            if name not in known:
                with contextlib.suppress(sqlite3.OperationalError):  # another process was quicker
                    self._db.execute(f"ALTER TABLE devices ADD COLUMN {name} {kind}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def changed(self) -> bool:
        """Whether another process has written since the last call."""
        version = self._data_version()
        has_changed, self._seen_version = version != self._seen_version, version
        return has_changed

    def _data_version(self) -> int:
        with self._reading():
            return int(self._run("PRAGMA data_version").fetchone()[0])

    # Who is there

    def find(self, name: str) -> RegistryRow | None:
        """One device."""
        with self._reading():
            row = self._run(f"SELECT {_COLUMNS} FROM devices WHERE name = ?", name).fetchone()
            return None if row is None else _to_row(row)

    def rows(self) -> list[RegistryRow]:
        """All devices, by name."""
        query = f"SELECT {_COLUMNS} FROM devices ORDER BY name"
        with self._reading():
            return [_to_row(row) for row in self._run(query)]

    def is_revoked(self, key: str) -> bool:
        """Whether this key was revoked, under whatever name."""
        with self._reading():
            return self._run("SELECT 1 FROM revoked WHERE key = ?", key).fetchone() is not None

    # Whether rounds are opened

    def pause(self, paused: bool) -> None:
        """Open no round from now on, or do so again; the next starts keep to it."""
        self._run("INSERT OR REPLACE INTO facts VALUES ('paused', ?)", float(paused))

    def is_paused(self) -> bool:
        """Whether no round is to be opened."""
        with self._reading():
            row = self._run("SELECT value FROM facts WHERE name = 'paused'").fetchone()
            return row is not None and bool(row[0])

    # Letting in and keeping out

    def permit_join(self, seconds: float) -> None:
        """Let new devices in for so long from now; 0 closes the window."""
        self._run("INSERT OR REPLACE INTO facts VALUES ('permit-join-until', ?)",
                  time.time() + seconds)  # fmt: skip

    def permit_join_s(self) -> float | None:
        """For how long new devices are let in from now on; None when that was never said."""
        with self._reading():
            row = self._run("SELECT value FROM facts WHERE name = 'permit-join-until'").fetchone()
        return None if row is None else max(0.0, float(row[0]) - time.time())

    def enrol(self, name: str, key: str) -> None:
        """Let a device in with this key, whatever it was before.

        Raises ConfigurationError for a name or key that cannot be one, and for a revoked key.
        """
        check_name("device", name)
        if not is_public_key(key):
            raise ConfigurationError(
                f"{key[:70]!r} is not a public key: want 64 hexadecimal digits"
            )
        if self.is_revoked(key):
            raise ConfigurationError(f"the key of {name} was revoked: make a new one on the device")
        self._put(name, key, key, Standing.ENROLLED, "")

    def enrol_all(self, devices: Mapping[str, str]) -> None:
        """Let in all of these, `{name: key}`, or none. Raises as `enrol` does."""
        with self._transaction():
            for name, key in devices.items():
                self.enrol(name, key)

    def replace_key(self, name: str, key: str) -> None:
        """A device has rotated its key."""
        self._run("UPDATE devices SET key = ? WHERE name = ?", key, name)

    def let_wait(self, name: str, key: str) -> bool:
        """Remember that an unknown device has asked; False when too many wait already."""
        waiting = "SELECT count(*) FROM devices WHERE standing = 'waiting'"
        if self.find(name) is None and self._run(waiting).fetchone()[0] >= _MOST_WAITING:
            return False
        self._put(name, key, key, Standing.WAITING, "")
        return True

    def quarantine(self, name: str, reason: str) -> bool:
        """Keep a device out until it is readmitted; False for one that is not let in anyway."""
        # In one statement: a revocation by another process must not be made less of.
        done = self._run(
            "UPDATE devices SET standing = ?, reason = ?, since = ? "
            "WHERE name = ? AND standing = 'enrolled'",
            Standing.QUARANTINED.value, reason, time.time(), name,
        )  # fmt: skip
        return done.rowcount > 0

    def keep_out(self, name: str, reason: str) -> None:
        """`quarantine` by a person's word; ConfigurationError for a device that is not let in."""
        if not self.quarantine(name, reason):
            raise ConfigurationError(f"{name} is {self._known(name).standing.value}, not enrolled")

    def readmit(self, name: str) -> None:
        """Let a quarantined device back; ConfigurationError for any other."""
        row = self._known(name)
        if row.standing is not Standing.QUARANTINED:
            raise ConfigurationError(f"{name} is {row.standing.value}, not quarantined")
        self._stand(name, Standing.ENROLLED, "")
        self._run("UPDATE devices SET failures = 0 WHERE name = ?", name)

    def accept(self, name: str, key: str | None = None) -> None:
        """Let a device in by a person's word: with that key, or the one that it asked with."""
        if key is None:
            row = self._known(name)
            if row.standing not in (Standing.WAITING, Standing.ENROLLED):
                raise ConfigurationError(
                    f"{name} is {row.standing.value}"
                    + ("; use readmit" if row.standing is Standing.QUARANTINED else
                       "; give the key that the device has now")
                )  # fmt: skip
            key = row.key
        self.enrol(name, key)

    def revoke(self, name: str) -> None:
        """The device's key, and the one it was enrolled with, are good for nothing any more."""
        row = self._known(name)
        with self._transaction():
            for key in {row.key, row.origin}:
                self._run("INSERT OR IGNORE INTO revoked VALUES (?, ?, ?)", key, name, time.time())
            self._stand(name, Standing.REVOKED, "by command")

    # What they have done

    def count_accepted(self, accepted: Mapping[str, int]) -> None:
        """Add to the accepted updates of devices; one ends a row of failures."""
        with self._transaction():
            for name, count in accepted.items():
                self._run(
                    "UPDATE devices SET accepted = accepted + ?, failures = 0 "
                    "WHERE name = ? AND ? > 0", count, name, count,
                )  # fmt: skip

    def count_failure(self, name: str, *, rejected: bool) -> int:
        """A refused update or a failed round; the device's failures in a row."""
        self._run(
            "UPDATE devices SET rejected = rejected + ?, failures = failures + 1 WHERE name = ?",
            int(rejected), name,
        )  # fmt: skip
        with self._reading():
            row = self._run("SELECT failures FROM devices WHERE name = ?", name).fetchone()
        return 0 if row is None else int(row[0])

    def note_waiting(self, waiting: Mapping[str, str]) -> None:
        """What devices wait for from now on; nothing for those that do not wait."""
        with self._transaction():
            for name, waiting_for in waiting.items():
                self._run("UPDATE devices SET waiting_for = ? WHERE name = ?", waiting_for, name)

    def add_traffic(self, traffic: Mapping[str, tuple[int, int, int]]) -> None:
        """Add (messages, bytes, ignored messages) to what devices have sent."""
        with self._transaction():
            for name, (messages, size, ignored) in traffic.items():
                self._run(
                    "UPDATE devices SET messages = messages + ?, bytes = bytes + ?, "
                    "ignored = ignored + ? WHERE name = ?",
                    messages, size, ignored, name,
                )  # fmt: skip

    # Inside

    def _known(self, name: str) -> RegistryRow:
        row = self.find(name)
        if row is None:
            raise ConfigurationError(
                f"no device {name!r} is known; `pfedfrz devices list` names those that are"
            )
        return row

    def _put(self, name: str, key: str, origin: str, standing: Standing, reason: str) -> None:
        self._run(
            "INSERT INTO devices (name, key, origin, standing, reason, since) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET key = excluded.key, "
            "origin = excluded.origin, standing = excluded.standing, reason = excluded.reason, "
            "since = excluded.since, failures = 0",
            name, key, origin, standing.value, reason, time.time(),
        )  # fmt: skip

    def _stand(self, name: str, standing: Standing, reason: str) -> None:
        self._run(
            "UPDATE devices SET standing = ?, reason = ?, since = ? WHERE name = ?",
            standing.value, reason, time.time(), name,
        )  # fmt: skip

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Rows that cannot be what was written are an OperationError, like a file that is none."""
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise OperationError(
                f"registry {self._path} is damaged: {error}; restore it from a backup"
            ) from error

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise OperationError(f"registry {self._path}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._run("COMMIT")


def _to_row(row: tuple[object, ...]) -> RegistryRow:
    values = dict(zip(RegistryRow.__dataclass_fields__, row, strict=True))
    return RegistryRow(**{**values, "standing": Standing(values["standing"])})  # type: ignore[arg-type]


def read_registry(state_dir: Path) -> dict[str, RegistryRow]:
    """What is known of every device, by name, without writing; nothing where there is no registry.

    OperationError when the file is damaged.
    """
    path = state_dir / _FILE
    if not path.exists():
        return {}
    try:
        with contextlib.closing(open_read_only(path)) as db:
            known = {
                str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info('devices')")
            }
            columns = ", ".join(
                c if c in known else f"'' AS {c}" for c in RegistryRow.__dataclass_fields__
            )
            rows = db.execute(f"SELECT {columns} FROM devices ORDER BY name")
            return {row.name: row for row in map(_to_row, rows)}
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise OperationError(f"{path} cannot be read: {error}") from error
