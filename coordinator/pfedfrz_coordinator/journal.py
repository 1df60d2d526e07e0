"""What has happened, in SQLite: the truth after a crash and the source of every report.

WAL with synchronous FULL: a committed row survives a power cut. Rows are written before their
effects are published, so a restart can only repeat, never forget. Only reports wait a little, for
the next row or for `flush`, so that a thousand of them are not a thousand commits: nothing is
published on their account, and a device that was not heard to the end says them again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    LocalReport,
    OperationError,
    Purpose,
    RejectReason,
    RoundMetrics,
    decode_json,
)

from .read_only import open_read_only

__all__ = ["DeviceRow", "Holding", "Journal", "RejectRow", "RoundRow"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rounds (
    number INTEGER PRIMARY KEY, purpose TEXT NOT NULL, model_version INTEGER NOT NULL,
    model_digest TEXT NOT NULL, opened_at REAL NOT NULL, closed_at REAL, metrics TEXT) STRICT;
CREATE TABLE IF NOT EXISTS members (
    round INTEGER NOT NULL, device TEXT NOT NULL, status TEXT NOT NULL, report TEXT,
    samples INTEGER NOT NULL DEFAULT 0, norm REAL, payload_bytes INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0, cosine REAL, PRIMARY KEY (round, device)) STRICT;
CREATE TABLE IF NOT EXISTS rejects (
    round INTEGER NOT NULL, device TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    payload_bytes INTEGER NOT NULL, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS holdings (
    round INTEGER NOT NULL, device TEXT NOT NULL, worker TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (round, device)) STRICT;
CREATE TABLE IF NOT EXISTS notes (at REAL NOT NULL, text TEXT NOT NULL) STRICT;
"""

_ADDED = {"stale": "INTEGER NOT NULL DEFAULT 0", "cosine": "REAL"}
"""Columns of `members` that a file of an earlier version may lack."""


@dataclass(frozen=True)
class RoundRow:
    """One round as it was written down; times are Unix seconds of the coordinator's clock."""

    number: int
    purpose: Purpose
    model_version: int
    opened_at: float
    closed_at: float | None
    metrics: RoundMetrics | None
    """None for an open round, and for numbers that an older version wrote in another form."""


@dataclass(frozen=True)
class DeviceRow:
    """One device's part in one round."""

    round: int
    device: str
    status: str
    report: LocalReport | None
    samples: int
    norm: float | None
    payload_bytes: int
    stale: int = 0
    """How many rounds before this one its update was made."""
    cosine: float | None = None
    """Between its update's step and the model's; None where that is not known."""


@dataclass(frozen=True)
class Holding:
    """Where an accepted update is, when it is not in the coordinator's own store."""

    worker: str
    sha256: str
    """Of what was uploaded."""


@dataclass(frozen=True)
class RejectRow:
    """An update that was refused."""

    round: int
    device: str
    reason: RejectReason
    detail: str
    payload_bytes: int
    at: float
    """Unix seconds of the coordinator's clock."""


_ROUND_QUERY = "SELECT number, purpose, model_version, opened_at, closed_at, metrics FROM rounds"


def _round_row(row: tuple[int, str, int, float, float | None, str | None]) -> RoundRow:
    number, purpose, version, opened_at, closed_at, metrics = row
    try:
        decoded = decode_json(metrics, RoundMetrics) if metrics else None
    except msgspec.MsgspecError:
        # A report can do without one round's numbers; a restart cannot do without the round.
        decoded = None
    return RoundRow(number, Purpose(purpose), version, opened_at, closed_at, decoded)


class Journal:
    """The journal of one federation, in one file."""

    def __init__(self, path: Path, *, read_only: bool = False, any_thread: bool = False) -> None:
        """Open, and make if need be; OperationError when the file cannot be used.

        With `any_thread` a reader's threads may take turns, each alone while it reads.
        """
        self._path = path
        try:
            if read_only:
                self._db = open_read_only(path, any_thread=any_thread)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, isolation_level=None)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
                self._add_columns()
            self._lacking = _ADDED.keys() - self._member_columns()
            """Of a file of an earlier version, which was opened to read alone."""
        except (sqlite3.Error, OSError) as error:
            raise OperationError(f"cannot open the journal {path}: {error}") from error

    def _member_columns(self) -> set[str]:
        rows = self._db.execute("SELECT name FROM pragma_table_info('members')")
        return {str(name) for (name,) in rows}

    def _add_columns(self) -> None:
        known = self._member_columns()
        for name, kind in _ADDED.items():
            if name not in known:
                self._db.execute(f"ALTER TABLE members ADD COLUMN {name} {kind}")

    def close(self) -> None:
        """Close the file."""
        self.flush()
        self._db.close()

    @property
    def holds(self) -> bool:
        """Whether reports wait to be committed."""
        return self._db.in_transaction

    def flush(self) -> None:
        """Commit reports that wait."""
        if self._db.in_transaction:
            self._run("COMMIT")

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise OperationError(f"journal {self._path}: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Rows that cannot be what was written are an OperationError, like a file that is none."""
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
            raise OperationError(
                f"journal {self._path} is damaged: {error}; restore it from a backup"
            ) from error

    def _write(self, statement: str, *values: object) -> None:
        """Run and commit, with whatever waits."""
        self._run(statement, *values)
        self.flush()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.flush()
        self._run("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._run("COMMIT")

    def hold_still(self) -> None:
        """Show the state of one moment from now on, whatever a coordinator writes meanwhile."""
        self._run("BEGIN")

    # Facts

    def fact(self, name: str) -> str | None:
        """A single remembered value."""
        with self._reading():
            row = self._run("SELECT value FROM facts WHERE name = ?", name).fetchone()
            return row[0] if row else None

    def set_fact(self, name: str, value: str) -> None:
        """Remember a single value."""
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)

    def note(self, text: str) -> None:
        """Write down something that a person should know."""
        self._write("INSERT INTO notes VALUES (?, ?)", time.time(), text)

    def notes(self) -> list[str]:
        """All notes, oldest first."""
        with self._reading():
            return [row[0] for row in self._run("SELECT text FROM notes ORDER BY rowid")]

    # Rounds

    def open_round(
        self, number: int, purpose: Purpose, version: int, digest: str, selected: tuple[str, ...]
    ) -> None:
        """A round is about to be announced; opening it again keeps what was accepted."""
        with self._transaction():
            self._run(
                # What stands there may differ: a person may restart with more or fewer rounds.
                "INSERT INTO rounds VALUES (?, ?, ?, ?, ?, NULL, NULL) "
                "ON CONFLICT (number) DO UPDATE SET purpose = excluded.purpose, "
                "model_version = excluded.model_version, model_digest = excluded.model_digest",
                number, purpose.value, version, digest, time.time(),
            )  # fmt: skip
            for device in selected:
                self._run(
                    "INSERT INTO members (round, device, status) VALUES (?, ?, 'selected') "
                    "ON CONFLICT DO UPDATE SET status = 'selected' WHERE status != 'accepted'",
                    number, device,
                )  # fmt: skip

    def record_report(
        self, number: int, device: str, status: str, report: LocalReport | None
    ) -> bool:
        """What a device said of its own part in a round, until it is settled; whether it counts."""
        body = msgspec.json.encode(report).decode() if report else None
        if not self._db.in_transaction:
            self._run("BEGIN")
        written = self._run(
            "UPDATE members SET status = ?, report = coalesce(?, report) "
            "WHERE round = ? AND device = ? AND status IN ('selected', 'offered')",
            status, body, number, device,
        )  # fmt: skip
        return written.rowcount > 0

    def accept(
        self, number: int, device: str, samples: int, norm: float, payload_bytes: int
    ) -> None:
        """An update is durable in the store; after this row it counts."""
        self.accept_all(number, [(device, samples, norm, payload_bytes, 0)])

    def accept_all(
        self,
        number: int,
        updates: Sequence[tuple[str, int, float, int, int]],
        holdings: Mapping[str, Holding] | None = None,
    ) -> None:
        """Several updates at once: device, samples, norm, payload bytes of each, and how many
        rounds late it is. A device that is late need not have been selected for this round.

        `holdings` are those that a worker has, by device.
        """
        with self._transaction():
            for device, held in (holdings or {}).items():
                self._run(
                    "INSERT OR REPLACE INTO holdings VALUES (?, ?, ?, ?)",
                    number, device, held.worker, held.sha256,
                )  # fmt: skip
            for device, samples, norm, payload_bytes, stale in updates:
                self._run(
                    "INSERT INTO members (round, device, status, samples, norm, payload_bytes, "
                    "stale) VALUES (?, ?, 'accepted', ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                    "status = 'accepted', samples = excluded.samples, norm = excluded.norm, "
                    "payload_bytes = excluded.payload_bytes, stale = excluded.stale",
                    number, device, samples, norm, payload_bytes, stale,
                )  # fmt: skip

    def record_cosines(self, number: int, cosines: Mapping[str, float]) -> None:
        """Which way accepted updates pulled, -1 to 1, by device; what was known before is gone."""
        with self._transaction():
            self._run("UPDATE members SET cosine = NULL WHERE round = ?", number)
            for device, cosine in cosines.items():
                self._run(
                    "UPDATE members SET cosine = ? WHERE round = ? AND device = ?",
                    cosine, number, device,
                )  # fmt: skip

    def reject(
        self, number: int, device: str, reason: RejectReason, detail: str, payload_bytes: int
    ) -> None:
        """An update was refused."""
        with self._transaction():
            self._run(
                "INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?)",
                number, device, reason.value, detail, payload_bytes, time.time(),
            )  # fmt: skip
            self._run(
                "UPDATE members SET status = 'rejected' "
                "WHERE round = ? AND device = ? AND status != 'accepted'",
                number, device,
            )  # fmt: skip

    def close_round(self, number: int, metrics: RoundMetrics) -> None:
        """The round is over and its model, if it made one, is durable."""
        body = msgspec.json.encode(metrics).decode()
        self._write(
            "UPDATE rounds SET closed_at = ?, metrics = ? WHERE number = ?",
            time.time(), body, number,
        )  # fmt: skip

    def rounds(self, *, with_metrics: bool = True) -> list[RoundRow]:
        """All rounds in order; their numbers, which are most of it, only where they are wanted."""
        query = _ROUND_QUERY if with_metrics else _ROUND_QUERY.replace("metrics", "NULL")
        with self._reading():
            return [_round_row(row) for row in self._run(f"{query} ORDER BY number")]

    def closed_rounds(self, most: int) -> list[RoundRow]:
        """The last closed rounds, `most` at most, in order."""
        query = f"{_ROUND_QUERY} WHERE closed_at IS NOT NULL ORDER BY number DESC LIMIT ?"
        with self._reading():
            return [_round_row(row) for row in self._run(query, most)][::-1]

    def round(self, number: int) -> RoundRow | None:
        """One round."""
        with self._reading():
            row = self._run(f"{_ROUND_QUERY} WHERE number = ?", number).fetchone()
            return _round_row(row) if row else None

    def open_rounds(self) -> list[RoundRow]:
        """The rounds that were opened and not closed: at most one."""
        with self._reading():
            return [_round_row(row) for row in self._run(f"{_ROUND_QUERY} WHERE closed_at IS NULL")]

    def last_closed(self, purpose: Purpose | None = None) -> int:
        """The number of the last closed round, of one purpose or of any; 0 before the first."""
        query = "SELECT coalesce(max(number), 0) FROM rounds WHERE closed_at IS NOT NULL"
        with self._reading():
            if purpose is None:
                return int(self._run(query).fetchone()[0])
            return int(self._run(f"{query} AND purpose = ?", purpose.value).fetchone()[0])

    def forget_accepted(self, number: int, device: str) -> None:
        """An accepted update turned out to be gone: the device is asked again."""
        with self._transaction():
            self._run("DELETE FROM holdings WHERE round = ? AND device = ?", number, device)
            self._run(
                "UPDATE members SET status = 'selected' WHERE round = ? AND device = ?",
                number, device,
            )  # fmt: skip

    def holdings(self, number: int) -> dict[str, Holding]:
        """Which of a round's accepted updates workers hold, by device."""
        query = "SELECT device, worker, sha256 FROM holdings WHERE round = ?"
        return {
            device: Holding(worker, sha256) for device, worker, sha256 in self._run(query, number)
        }

    def members(self, number: int) -> list[DeviceRow]:
        """The devices of one round, by name."""
        stale = "0" if "stale" in self._lacking else "stale"
        cosine = "NULL" if "cosine" in self._lacking else "cosine"
        query = (
            "SELECT round, device, status, report, samples, norm, payload_bytes, "
            f"{stale}, {cosine} FROM members WHERE round = ? ORDER BY device"
        )
        with self._reading():
            return [
                DeviceRow(
                    round_number,
                    device,
                    status,
                    decode_json(report, LocalReport) if report else None,
                    *numbers,
                )
                for round_number, device, status, report, *numbers in self._run(query, number)
            ]

    def rejects(self, number: int | None = None) -> dict[RejectReason, int]:
        """How many updates were refused, by reason; of one round or of all."""
        where = "" if number is None else "WHERE round = ?"
        values = () if number is None else (number,)
        query = f"SELECT reason, count(*) FROM rejects {where} GROUP BY reason ORDER BY reason"
        with self._reading():
            return {RejectReason(reason): count for reason, count in self._run(query, *values)}

    def reject_rows(self) -> list[RejectRow]:
        """Every refused update, in the order of time."""
        query = (
            "SELECT round, device, reason, detail, payload_bytes, at FROM rejects ORDER BY rowid"
        )
        with self._reading():
            return [
                RejectRow(number, device, RejectReason(reason), detail, size, at)
                for number, device, reason, detail, size, at in self._run(query)
            ]

    def rejected_bytes(self, number: int) -> int:
        """Payload bytes of one round's refused updates."""
        query = "SELECT coalesce(sum(payload_bytes), 0) FROM rejects WHERE round = ?"
        with self._reading():
            return int(self._run(query, number).fetchone()[0])
