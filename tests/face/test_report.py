"""`pfedfrz report`, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_journals import WrittenRun

from pfedfrz.command import run


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return WrittenRun(tmp_path / "state").write()


def test_the_whole_report_lies_in_a_directory_of_its_own(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in state.iterdir()}
    assert run(["report", str(state)]) == 0
    out = Path("report-state")
    assert {path.name for path in out.iterdir()} == {
        "report.html",
        "summary.json",
        "rounds.csv",
        "devices.csv",
        "accuracy.png",
    }
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "rounds    3 of 3, finished"
    assert said[-1] == f"report    {out / 'report.html'}"
    assert {path.name for path in state.iterdir()} == before


def test_a_file_takes_the_page_alone_and_json_writes_nothing(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(state), "--out", "today.html"]) == 0
    assert Path("today.html").read_bytes().startswith(b"<!DOCTYPE html>")
    capsys.readouterr()
    assert run(["report", str(state / "journal.sqlite"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["state"], summary["attackers"], summary["attacker_devices"]) == (
        "finished",
        None,
        [],
    )
    assert {path.name for path in tmp_path.iterdir()} == {"state", "today.html"}


def test_without_matplotlib_the_plots_are_left_out_and_that_is_said(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["report", str(state), "--out", "out"]) == 0
    assert "pip install 'pfedfrz[plots]'" in capsys.readouterr().err
    assert not list(Path("out").glob("*.png"))
    assert Path("out/report.html").exists()


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(
        f"error: {tmp_path}: no journal is in it; give a coordinator's state_dir"
    )
