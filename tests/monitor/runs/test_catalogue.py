"""Finding runs on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_bundle import make_bundle
from written_journals import BEGAN, WrittenRun

from pfedfrz_coordinator.adoption import adopt_bundle
from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_monitor.report import RunState
from pfedfrz_monitor.runs import (
    RunDescription,
    StudyDescription,
    find_place,
    find_runs,
    read_record,
)
from pfedfrz_protocol import Group
from pfedfrz_storage import lock_directory

CELL = {
    "variant": "pfedfrz",
    "experiment": {"method": "pfedfrz", "dataset": "digits", "devices": 5, "attackers": 1},
    "rounds": [{"round": 1, "received": 0.5, "local": 0.75}],
    "wall_s": 2.5,
}


def write_study(folder: Path, cells: int, wanted: int | None) -> None:
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(CELL) + "\n" for _ in range(cells))
    (folder / "cells.jsonl").write_text(lines + '{"half a li')
    if wanted is not None:
        poster(wanted, "2025-06-15T12:00:00+00:00").save(folder)


def poster(cells: int, started_at: str) -> StudyDescription:
    return StudyDescription("poster", "pfedfrz study poster", cells, started_at)


def test_emulated_runs_studies_and_federations_are_found(tmp_path: Path) -> None:
    WrittenRun(tmp_path / "runs" / "first" / "coordinator").write()
    place = find_place(tmp_path / "runs" / "first")
    RunDescription(read_record(place).settings, (), {}).save(place.directory)
    WrittenRun(tmp_path / "deep" / "er" / "state").write(closed=1, evaluated=False, opened=True)
    write_study(tmp_path / "studies" / "poster", 3, 4)
    found = find_runs([tmp_path])
    assert found.faults == ()
    entries = {entry.kind: entry for entry in found.runs}
    assert set(entries) == {"emulated", "federation", "study"}
    emulated, federation, study = (entries[k] for k in ("emulated", "federation", "study"))
    assert (emulated.name, emulated.state) == ("first", RunState.FINISHED)
    assert (federation.name, federation.completed, federation.wanted) == ("lab", 1, 3)
    assert federation.state is RunState.INTERRUPTED
    assert federation.began_at == pytest.approx(BEGAN)
    assert federation.attackers is None
    assert (study.name, study.completed, study.wanted) == ("poster", 3, 4)
    assert (study.method, study.devices, study.state) == ("pfedfrz", 5, RunState.INTERRUPTED)
    assert find_runs([tmp_path / "runs" / "first"]).runs == (emulated,)


def test_a_study_is_finished_with_its_last_cell_and_runs_while_it_is_held(tmp_path: Path) -> None:
    write_study(tmp_path / "done", 4, 4)
    write_study(tmp_path / "going", 2, 4)
    write_study(tmp_path / "old", 2, None)
    with lock_directory(tmp_path / "going"):
        states = {Path(e.path).name: e.state for e in find_runs([tmp_path]).runs}
    assert states == {
        "done": RunState.FINISHED,
        "going": RunState.RUNNING,
        "old": RunState.INTERRUPTED,
    }


def test_what_the_adoption_of_a_bundle_replaced_stays_a_run(tmp_path: Path) -> None:
    """Every federation keeps its runs: the journal of before is moved aside, not deleted."""
    WrittenRun(tmp_path).write()
    bundle, models = make_bundle(), Checkpoints(tmp_path / "models")
    models.prepare()
    models.save(3, bundle.initial_weights(Group.SHARED), bundle.manifest.digest)
    assert adopt_bundle(tmp_path, make_bundle(seed=9, method="fedsim")) is not None
    entries = {entry.kind: entry for entry in find_runs([tmp_path]).runs}
    before, now = entries["replaced"], entries["federation"]
    assert (before.completed, before.state, before.method) == (3, RunState.FINISHED, "pfedfrz")
    assert Path(before.path).parent == tmp_path / "replaced"
    assert now.completed == 0
    assert len(read_record(find_place(Path(before.path))).rounds) == 3


def test_damaged_and_foreign_directories_are_a_line_each_and_stop_nothing(tmp_path: Path) -> None:
    WrittenRun(tmp_path / "good").write()
    for name in ("damaged", "foreign", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "journal.sqlite").write_bytes(b"no database")
    (tmp_path / "foreign" / "cells.jsonl").write_text('{"cells": "of a battery"}\n')
    (tmp_path / "empty" / "journal.sqlite").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    found = find_runs([tmp_path])
    assert [Path(entry.path).name for entry in found.runs] == ["good"]
    assert len(found.faults) == 3
    for name, fault in zip(("damaged", "empty", "foreign"), sorted(found.faults), strict=True):
        assert "\n" not in fault
        assert str(tmp_path / name) in "".join(found.faults)


def test_a_study_s_start_is_kept_when_it_goes_on(tmp_path: Path) -> None:
    first = poster(4, "2025-06-15T12:00:00+00:00")
    first.save(tmp_path)
    poster(4, "2025-06-16T12:00:00+00:00").save(tmp_path)
    assert StudyDescription.load(tmp_path) == first
    more = poster(8, "2025-06-17T12:00:00+00:00")
    more.save(tmp_path)
    assert StudyDescription.load(tmp_path) == more
