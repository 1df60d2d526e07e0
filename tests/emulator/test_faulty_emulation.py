"""Whole fleets under faults, as `pfedfrz emulate --faults` runs them."""

from __future__ import annotations

import io
import json
from pathlib import Path

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
