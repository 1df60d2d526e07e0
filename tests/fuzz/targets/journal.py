"""Rows of the coordinator's journal and registry, and whole files of SQLite."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from json_mutation import change_json
from recipe import scratch

from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.registry import Registry
from pfedfrz_coordinator.round_metrics import summarize_round
from pfedfrz_protocol import OperationError

_ROWS = {
    "rounds": [1, "train", 0, "0", 1.5, None, None],
    "members": [1, "a", "accepted", '{"samples":5}', 5, 1.0, 7, 0, 0.5],
    "rejects": [1, "a", "late", "x", 7, 1.5],
    "devices": ["a", "0" * 64, "0" * 64, "enrolled", "", 1.5, 0, 0, 0, 0, 0, 0],
    "facts": ["permit-join-until", 1.5],
}


def _read(folder_name: str) -> None:
    folder = scratch() / folder_name
    journal = Journal(folder / "journal.sqlite")
    try:
        for row in journal.rounds():
            journal.members(row.number)
            summarize_round(journal, row, {})
        journal.open_rounds(), journal.rejects(), journal.notes(), journal.last_closed()
        journal.fact("epoch"), journal.round(1), journal.rejected_bytes(1)
    finally:
        journal.close()
    registry = Registry(folder)
    try:
        registry.rows(), registry.find("a"), registry.permit_join_s(), registry.is_revoked("0")
    finally:
        registry.close()


def target(data: bytes) -> None:
    """An odd first byte: a file of SQLite. An even one: rows as JSON, `{table: [columns]}`."""
    folder = scratch() / "journal"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    try:
        if data and data[0] & 1:
            name = "journal" if data[0] & 2 else "devices"
            (folder / f"{name}.sqlite").write_bytes(data[1:])
        else:
            _put(data[1:])
        _read("journal")
    except OperationError:
        pass


def _put(body: bytes) -> None:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):
        return
    folder = scratch() / "journal"
    Journal(folder / "journal.sqlite").close()
    Registry(folder).close()
    for table, row in rows.items() if isinstance(rows, dict) else ():
        if table not in _ROWS or not isinstance(row, list):
            continue
        values = [json.dumps(v) if isinstance(v, dict | list) else v for v in row]
        file = "devices" if table in ("devices", "facts") else "journal"
        places = ", ".join("?" * len(values))
        # Only what its tables take can stand in a file; a surrogate cannot.
        with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeError):
            with contextlib.closing(sqlite3.connect(folder / f"{file}.sqlite")) as db, db:
                columns = db.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
                # A row of an earlier version stops before the columns that came since.
                names = ", ".join(name for (name,) in columns[: len(values)])
                db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    if data and data[0] & 1:
        return None
    changed = change_json(data[1:], limit - 1, seed)
    return None if changed is None else data[:1] + changed


def seeds() -> dict[str, bytes]:
    folder = scratch() / "made-journal"
    journal, registry = Journal(folder / "journal.sqlite"), Registry(folder)
    journal.close(), registry.close()

    def rows(**changes: object) -> bytes:
        made = json.loads(json.dumps(_ROWS))
        for name, value in changes.items():
            table, _, column = name.rpartition("_")
            made[table][int(column)] = value
        return b"\x00" + json.dumps(made).encode()

    # Without its empty pages a file of SQLite is small, and still one.
    whole = {n: (folder / f"{n}.sqlite").read_bytes() for n in ("journal", "devices")}
    return {
        "rows": rows(),
        "bad-report": rows(members_3="{"),
        "deep-report": rows(members_3="[" * 3000),
        "duplicated-report": rows(members_3='{"samples":1,"samples":2}'),
        "huge-report": rows(members_3='{"samples":1e999}'),
        "unknown-purpose": rows(rounds_1="conquer"),
        "unknown-reason": rows(rejects_2="mood"),
        "unknown-standing": rows(devices_3="king"),
        "negative": rows(rounds_0=-1, members_4=-5, rejects_4=-7),
        "huge": rows(members_4=2**62, rejects_4=2**63 - 1, members_6=2**62),
        "bad-metrics": rows(rounds_5=1.5, rounds_6='{"round":NaN}'),
        "infinite-cosine": rows(members_8=1e999),
        "closed": rows(rounds_5=1.5, rounds_6="{}"),
        "infinite-time": rows(rounds_4=1e999),
        "sqlite-journal": b"\x03" + whole["journal"][:8192],
        "sqlite-registry": b"\x01" + whole["devices"][:8192],
        "sqlite-truncated": b"\x03" + whole["journal"][:700],
        "sqlite-header": b"\x03" + whole["journal"][:100],
        "no-sqlite": b"\x03hello",
    }
