"""Fleets whose rounds do not wait: a buffer of late updates, over-selection, 8 bits on the wire."""

from pathlib import Path

import numpy as np
import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import prepare_fleet
from pfedfrz_protocol import Encoding, Hyperparameters, Purpose

SMALL = {
    "dataset": "digits",
    "model": "mlp",
    "devices": 5,
    "rounds": 6,
    "samples": 60,
    "test_per_class": 10,
    "training": Hyperparameters(epochs=1, learning_rate=0.05),
}


def run(directory: Path, **changes: object) -> tuple[list[float], list[tuple[int, int]]]:
    """Mean local accuracy by round of training, and (accepted, late) of each."""
    fleet = MemoryFleet(prepare_fleet(Experiment(**{**SMALL, **changes})), directory)  # type: ignore[arg-type]
    fleet.run()
    journal = Journal(fleet.state_dir / "journal.sqlite", read_only=True)
    closed = [row for row in journal.rounds() if row.purpose is Purpose.TRAIN and row.metrics]
    local = [row.metrics.local_mean or 0.0 for row in closed if row.metrics]
    counts = [(row.metrics.accepted, row.metrics.stale) for row in closed if row.metrics]
    for row in closed:
        assert len({m.device for m in journal.members(row.number)}) == len(
            journal.members(row.number)
        )
    journal.close()
    return local, counts


@pytest.mark.timeout(120)
def test_a_buffered_fleet_makes_a_model_of_every_full_buffer_and_learns(tmp_path: Path) -> None:
    local, counts = run(tmp_path, buffer=2)
    assert len(counts) == 6
    assert all(accepted >= 2 for accepted, _ in counts)
    assert sum(late for _, late in counts) >= 1
    assert local[-1] > 0.6


@pytest.mark.timeout(120)
def test_the_first_of_the_over_selected_make_the_model(tmp_path: Path) -> None:
    _, counts = run(tmp_path, participants=2, overselect=1.0, rounds=3)
    # What came in the same instant as the second counts as well.
    assert all(2 <= accepted <= 4 for accepted, _ in counts)
    assert len(counts) == 3
    assert sum(late for _, late in counts) == 0


@pytest.mark.timeout(120)
def test_eight_bits_with_error_feedback_learn_as_well_as_sixteen(tmp_path: Path) -> None:
    fine, _ = run(tmp_path / "fine", encoding=Encoding.DELTA_FLOAT16)
    coarse, _ = run(tmp_path / "coarse", encoding=Encoding.DELTA_INT8)
    assert np.abs(np.subtract(fine, coarse)).max() < 0.05
