"""`pfedfrz runs`, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_journals import WrittenRun

from pfedfrz.command import run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    WrittenRun(tmp_path / "runs" / "a", seed=1).write()
    WrittenRun(tmp_path / "runs" / "b", seed=2).write(closed=1, evaluated=False, opened=True)
    return tmp_path / "runs"


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_list_is_of_here_and_names_what_it_skips(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "c").mkdir()
    (runs / "c" / "journal.sqlite").write_text("not a journal")
    assert run(["runs", "list"]) == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:4] == ["when", "run", "kind", "method"]
    assert [line.split()[-2:] for line in lines[1:]] == [
        ["finished", "runs/a"],
        ["interrupted", "runs/b"],
    ]
    assert streams.err.startswith("skipped: ")
    assert len(streams.err.splitlines()) == 1
    assert run(["runs", "list", "--json", "runs"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed["runs"]] == ["lab", "lab"]
    assert len(listed["skipped"]) == 1


def test_one_run_is_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "show", "runs/b"]) == 0
    lines = said(capsys)
    assert lines[0].split() == ["federation", "lab"]
    assert "rounds    1 of 3, interrupted" in lines
    assert run(["runs", "show", "runs/b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "interrupted"


def test_runs_are_compared_and_told_apart(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "compare", "runs/a", "runs/b"]) == 0
    lines = said(capsys)
    assert any("seeds differ (1, 2)" in line for line in lines)
    assert run(["runs", "compare", "runs/a", "runs/b", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert run(["runs", "diff", "runs/a", "runs/b"]) == 0
    assert [line.split() for line in said(capsys)[1:]] == [["coordinator", "rounds.seed", "1", "2"]]
    assert run(["runs", "diff", "runs/a", "runs/a"]) == 0
    assert said(capsys) == ["no difference in what was written down"]


def test_a_run_is_exported(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "export", "runs/a", "--to", "csv", "--out", "tables"]) == 0
    assert said(capsys) == [f"tables/{n}.csv" for n in ("rounds", "devices", "refusals")]


def test_faults_are_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["list", "nowhere"],
        ["show", "nowhere"],
        ["compare", "runs/a"],
        ["diff", "runs/a", "nowhere"],
    ):
        assert run(["runs", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_where_nothing_is_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["runs", "list"]) == 0
    assert said(capsys) == ["no runs in runs or studies, which are not here"]
