"""What a journal, and what lies beside it, says of a run."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from written_journals import DEVICES, WrittenRun

from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.registry import Registry
from pfedfrz_monitor.report import Moment, RunState, encode_page, final_accuracy, summarize
from pfedfrz_monitor.runs import DescribedDevice, RunDescription, find_place, read_record
from pfedfrz_protocol import ConfigurationError, OperationError
from pfedfrz_storage import lock_directory


def test_a_journal_alone_says_all_but_what_nobody_knows(tmp_path: Path) -> None:
    record = read_record(find_place(WrittenRun(tmp_path / "state").write()))
    settings = record.settings
    assert (settings.federation, settings.method, settings.model) == ("lab", "pfedfrz", "tiny")
    assert (settings.dataset, settings.alpha, settings.attackers) == (None, None, None)
    assert (settings.runtime, settings.command) == (None, "")
    assert [device.device for device in record.devices] == list(DEVICES)
    assert [row.round for row in record.rounds] == [1, 2, 3]
    assert record.state is RunState.FINISHED
    assert record.wall_s == pytest.approx(31.0)
    text = encode_page(record).decode()
    for invented in ("benign", "IID", "attackers", "None"):
        assert invented not in text


def test_parts_refusals_and_sums_are_the_journal_s(tmp_path: Path) -> None:
    record = read_record(find_place(WrittenRun(tmp_path / "state").write()))
    bob, cyd = record.devices[1], record.devices[2]
    assert [part and (part.norm, part.cosine) for part in bob.parts] == [(2.0, -0.25)] * 3
    assert [part and part.outcome for part in cyd.parts] == ["accepted", "rejected", "accepted"]
    assert bob.samples == 41
    (refusal,) = record.refusals
    assert (refusal.device, refusal.round, refusal.reason) == ("cyd", 2, "not-finite")
    assert record.rounds[1].train_s == pytest.approx(9.0)
    assert record.uplink_bytes == 8 * 250 + 300
    final = final_accuracy(record, Moment.RECEIVED)
    assert (final.when, final.spread and final.spread.mean) == (
        "closing evaluation",
        pytest.approx(0.91),
    )


@pytest.mark.parametrize(
    ("closed", "evaluated", "opened", "state"),
    [
        (3, True, False, RunState.FINISHED),
        (2, False, True, RunState.INTERRUPTED),
        (3, False, False, RunState.INTERRUPTED),
        (2, True, False, RunState.INTERRUPTED),
        (0, False, True, RunState.INTERRUPTED),
    ],
)
def test_whether_it_is_over(
    tmp_path: Path, closed: int, evaluated: bool, opened: bool, state: RunState
) -> None:
    run = WrittenRun(tmp_path / "state")
    place = find_place(run.write(closed=closed, evaluated=evaluated, opened=opened))
    assert read_record(place).state is state
    with lock_directory(place.state_dir):
        goes_on = read_record(place)
    assert goes_on.state is (state if state is RunState.FINISHED else RunState.RUNNING)
    assert ("The run goes on." in encode_page(goes_on).decode()) == (state is not goes_on.state)


def test_a_running_coordinator_s_journal_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    state_dir = WrittenRun(tmp_path / "state").write(closed=2, evaluated=False, opened=True)
    registry = Registry(state_dir)
    registry.enrol("dee", "a" * 64)
    registry.enrol("eve", "b" * 64)
    registry.quarantine("eve", "3 failures")
    writer = Journal(state_dir / "journal.sqlite")
    writer.note("written while it runs, and not yet in the file itself")
    before = {path.name: path.stat().st_mtime_ns for path in state_dir.iterdir()}
    record = read_record(find_place(state_dir))
    after = {path.name: path.stat().st_mtime_ns for path in state_dir.iterdir()}
    writer.close()
    registry.close()
    shared_memory = {name for name in before if name.endswith("-shm")}
    assert {k: v for k, v in before.items() if k not in shared_memory} == {
        k: v for k, v in after.items() if k not in shared_memory
    }
    assert record.notes[-1].startswith("written while it runs")
    assert {d.device: d.standing for d in record.devices} == {
        **dict.fromkeys((*DEVICES, "dee"), ""),
        "eve": "quarantined: 3 failures",
    }


def test_a_run_of_emulate_knows_its_attackers_while_it_is_not_over(tmp_path: Path) -> None:
    WrittenRun(tmp_path / "coordinator").write(closed=1, evaluated=False, opened=True)
    plain = read_record(find_place(tmp_path))
    settings = plain.settings
    description = RunDescription(
        replace(settings, dataset="digits", alpha=0.1, attackers=1, attack="nan", seed=3),
        tuple(DescribedDevice(name, name == "cyd", 40, (0.25, 0.75, 0.0)) for name in DEVICES),
        {"devices": 3},
    )
    description.save(tmp_path)
    for path in (tmp_path, tmp_path / "coordinator"):
        record = read_record(find_place(path))
        assert summarize(record)["attacker_devices"] == ["cyd"]
        assert record.settings.dataset == "digits"
        assert record.state is RunState.INTERRUPTED
        assert len(record.benign) == 2
    assert RunDescription.load(tmp_path) == description


def test_before_the_first_round_there_is_a_page(tmp_path: Path) -> None:
    record = read_record(find_place(WrittenRun(tmp_path / "s").write(closed=0, evaluated=False)))
    assert record.devices == ()
    assert b"0 of 3 rounds were completed" in encode_page(record)


def test_an_older_journal_says_less(tmp_path: Path) -> None:
    state_dir = WrittenRun(tmp_path / "state").write()
    db = sqlite3.connect(state_dir / "journal.sqlite")
    db.execute("DELETE FROM facts WHERE name IN ('circumstances', 'manifest')")
    db.commit()
    db.close()
    record = read_record(find_place(state_dir))
    assert (record.settings.method, record.settings.rounds, record.settings.broker) == (
        None,
        None,
        None,
    )
    assert len(record.rounds) == 3
    assert b"federation" in encode_page(record)


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such directory"):
        find_place(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="no journal is in it"):
        find_place(tmp_path)
    (tmp_path / "journal.sqlite").write_bytes(b"not a database at all, but long enough" * 10)
    with pytest.raises(OperationError, match=r"journal.sqlite.*(damaged|not a database)"):
        read_record(find_place(tmp_path))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_description_is_one_line(tmp_path: Path, content: bytes) -> None:
    WrittenRun(tmp_path / "coordinator").write()
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(OperationError, match=r"run.json is damaged: .*; move it away"):
        read_record(find_place(tmp_path))


def test_a_description_that_never_ends_or_begins_is_refused(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write()
    (state / "run.json").symlink_to("/dev/zero")
    with pytest.raises(OperationError, match="no regular file; move it away"):
        read_record(find_place(state))
    (state / "run.json").unlink()
    os.mkfifo(state / "run.json")
    with pytest.raises(OperationError, match="no regular file; move it away"):
        read_record(find_place(state))


def test_rows_without_end_are_not_read(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write()
    with closing(sqlite3.connect(state / "journal.sqlite", isolation_level=None)) as journal:
        journal.execute("DROP TABLE notes")
        journal.execute(
            "CREATE VIEW notes(at, text) AS WITH RECURSIVE c(x) AS "
            "(SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, 'note' FROM c"
        )
    with pytest.raises(OperationError, match="views or triggers, which pfedfrz never makes"):
        read_record(find_place(state))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 has no limits before Python 3.11")
def test_a_value_longer_than_any_that_is_written_is_not_read(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write()
    with closing(sqlite3.connect(state / "journal.sqlite", isolation_level=None)) as journal:
        journal.execute("UPDATE rejects SET detail = hex(zeroblob(40000000))")
    with pytest.raises(OperationError, match="too big"):
        read_record(find_place(state))
