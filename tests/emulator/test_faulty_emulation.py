"""Whole fleets under faults, as `pfedfrz emulate --faults` runs them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from pfedfrz_coordinator.journal import Journal
from pfedfrz_emulator.emulation import emulate
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_protocol import ConfigurationError

SMALL = {
    "dataset": "digits",
    "model": "mlp",
    "alpha": 1.0,
    "devices": 3,
    "samples": 60,
    "test_per_class": 5,
}


def run(directory: Path, **values: object) -> tuple[dict[str, object], str]:
    """summary.json of a run, and what was said on the console."""
    out = io.StringIO()
    experiment = Experiment(**SMALL, **values)  # type: ignore[arg-type]
    result = emulate(experiment, out=directory, console=Console(file=out, width=200))
    summary: dict[str, object] = json.loads(result.files.summary.read_bytes())
    assert str(result.files.page.read_text()).count(experiment.faults) >= 1
    return summary, out.getvalue()


def test_a_fleet_under_harsh_faults_does_every_round_with_every_device(tmp_path: Path) -> None:
    faults = "harsh:coordinator_kills=1,partition_s=2,latency_ms=60,cut_every_s=5"
    summary, said = run(tmp_path, rounds=3, faults=faults)
    assert summary["rounds_completed"] == 3
    injected = summary["faults"]["injected"]  # type: ignore[index]
    assert summary["faults"]["profile"] == faults  # type: ignore[index]
    assert injected["device kills"] >= 4
    assert (injected["coordinator kills"], injected["partitions"]) == (1, 1)
    assert injected["broker kills"] >= 1
    assert f"faults: {faults}" in said
    journal = Journal(tmp_path / "coordinator" / "journal.sqlite", read_only=True)
    for number in (1, 2, 3):
        assert {m.status for m in journal.members(number)} == {"accepted"}
    journal.close()
    assert not list(tmp_path.rglob("*.partial-*"))
    assert "--faults" in str(summary["command"])
    # Whoever a fault has killed is not reported as lost.
    assert not any("was killed" in str(note) for note in summary["notes"])  # type: ignore[union-attr]


def test_a_device_on_a_bad_link_still_finishes(tmp_path: Path) -> None:
    faults = "calm:bad_links=1,kbit_s=256,latency_ms=200,jitter_ms=50,loss=0.02"
    summary, _ = run(tmp_path, rounds=2, faults=faults)
    assert summary["updates"] == {"accepted": 6, "rejected": {}}


def is_alive(process: psutil.Process) -> bool:
    """Not where nobody has taken notice of its end yet, either."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_killed_with_slow_devices_it_leaves_no_stopped_process_behind(tmp_path: Path) -> None:
    # Almost always stopped, so that they do not hear that they are to end.
    words = "emulate --dataset digits --model mlp --devices 3 --rounds 1000 --samples 60"
    words += " --faults calm:slow_devices=3,slowdown=50 --out"
    run = subprocess.Popen(
        [sys.executable, "-m", "pfedfrz", *words.split(), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with run:
        emulation, members = psutil.Process(run.pid), list[psutil.Process]()
        deadline = time.monotonic() + 60
        while sum(member.status() == psutil.STATUS_STOPPED for member in members) < 3:
            assert time.monotonic() < deadline, "the devices are not stopped"
            members = emulation.children(recursive=True)
        run.kill()
    alive, deadline = members, time.monotonic() + 20
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [process for process in alive if is_alive(process)]
    for process in alive:
        process.kill()
    assert alive == []


def test_a_calm_run_says_that_it_was_calm(tmp_path: Path) -> None:
    summary, said = run(tmp_path, rounds=1)
    assert summary["faults"] == {"profile": "calm", "injected": {}}
    assert "faults" not in said
    assert "--faults" not in str(summary["command"])


def test_faults_on_somebody_elses_broker_are_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigurationError, match="needs a broker of its own"):
        emulate(Experiment(**SMALL, faults="flaky"), out=out, broker="mqtt://127.0.0.1:1")  # type: ignore[arg-type]
    assert not out.exists()
