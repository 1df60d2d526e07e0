"""The short form of scripts/chaos: some twenty kills of real processes and a real Mosquitto."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from chaos.checks import check_run
from chaos.plan import plan_steps
from chaos.points import COORDINATOR_POINTS, DEVICE_POINTS
from chaos.run import ChaosRun, Outcome
from chaos.witness import Witness

from pfedfrz_storage import load_tensors, save_tensors

KILLS = 20


@dataclass(frozen=True)
class Finished:
    directory: Path
    outcome: Outcome
    witness: Witness


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run with kills that has ended by itself."""
    directory = tmp_path_factory.mktemp("chaos")
    outcome, witness = ChaosRun(directory, KILLS, seed=3).go()
    return Finished(directory, outcome, witness)


def test_a_fleet_that_is_killed_again_and_again_keeps_every_promise(finished: Finished) -> None:
    outcome = finished.outcome
    assert outcome.kills.total() >= KILLS
    assert min(outcome.kills[kind] for kind in ("device", "coordinator", "broker")) >= 1
    assert outcome.deaths, "nobody died at an instant that was chosen"
    assert outcome.rounds >= 3
    assert check_run(outcome, finished.witness) == []


def test_the_same_seed_gives_the_same_kills() -> None:
    def first(seed: int) -> list[object]:
        steps = plan_steps(["a", "b"], seed)
        return [next(steps) for _ in range(200)]

    assert first(4) == first(4)
    assert first(4) != first(5)
    points = {getattr(step, "point", "") for step in first(4)}
    assert points == {"", *DEVICE_POINTS, *COORDINATOR_POINTS}


# What the checks see. Each of these damages what the run left behind, looks, and mends it.


def journal(finished: Finished, statement: str) -> None:
    db = sqlite3.connect(finished.outcome.files.journal)
    with db:
        assert db.execute(statement).rowcount == 1, statement
    db.close()


def wrong(finished: Finished) -> str:
    return "\n".join(check_run(finished.outcome, finished.witness))


def test_an_update_that_was_not_counted_is_seen(finished: Finished) -> None:
    where = "WHERE round = 2 AND device = 'device-01'"
    journal(finished, f"UPDATE members SET status = 'selected' {where} AND status = 'accepted'")
    try:
        assert "model 2 is not the mean of its 3 updates" in wrong(finished)
    finally:
        journal(finished, f"UPDATE members SET status = 'accepted' {where}")
    assert wrong(finished) == ""


def test_an_update_that_was_acknowledged_and_lost_is_seen(finished: Finished) -> None:
    finished.witness.told[2].add("device-09")
    assert "round 2: device-09 was told that it is accepted, and was not counted" in wrong(finished)
    finished.witness.told[2].discard("device-09")


def test_a_weight_that_counts_twice_is_seen(finished: Finished) -> None:
    where = "WHERE round = 2 AND device = 'device-01'"
    journal(finished, f"UPDATE members SET samples = samples * 2 {where}")
    assert "model 2 is not the mean" in wrong(finished)
    journal(finished, f"UPDATE members SET samples = samples / 2 {where}")


def test_a_round_that_is_open_or_missing_is_seen(finished: Finished) -> None:
    journal(finished, "UPDATE rounds SET closed_at = NULL WHERE number = 2")
    assert "round 2 was never closed" in wrong(finished)
    journal(finished, "UPDATE rounds SET closed_at = 1.0 WHERE number = 2")


def test_a_model_that_is_another_one_is_seen(finished: Finished) -> None:
    (path,) = (finished.witness.folder / "models").glob("model-000000002.*")
    tensors, _ = load_tensors(path)
    before = path.read_bytes()
    path.unlink()  # the name may share its content with the coordinator's own
    save_tensors(path, {name: t + np.float32(1e-4) for name, t in tensors.items()}, {})
    assert "model 2 is not the mean of its 4 updates: off by 0.0001" in wrong(finished)
    path.write_bytes(before)


def test_a_personal_weight_that_goes_back_is_seen(finished: Finished) -> None:
    path = finished.witness.folder / "device-00.personal"
    before = path.read_text()
    path.write_text(f"{before}loaded 1 0\n")
    assert "found (1, 0)" in wrong(finished)
    path.write_text(before)


def test_a_personal_file_that_was_there_and_is_gone_is_seen(finished: Finished) -> None:
    state = finished.directory / "devices" / "device-00"
    newest = max(state.glob("personal-*.safetensors"))
    newest.rename(state / "kept")
    assert "device-00: personal file" in wrong(finished)
    finished.witness.faults.clear()
    (state / "kept").rename(newest)


def test_a_half_written_file_that_stays_is_seen(finished: Finished) -> None:
    path = finished.directory / "devices" / "device-00" / "personal.partial-0000"
    path.touch()
    assert "personal.partial-0000 was left behind" in wrong(finished)
    path.unlink()
