"""What a round of a study makes of the weights that its cohorts have trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from study_executors import SerialExecutor

from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.study.cell import Cell, open_cell
from pfedfrz_emulator.study.cohort import CohortResult, CohortTask, StudyFolders
from pfedfrz_emulator.study.forms import CLIENTS_STACKED, Form
from pfedfrz_emulator.study.rounds import are_finite, cut_into_cohorts, run_cell
from pfedfrz_protocol import Encoding, Group, Hyperparameters


@dataclass
class Recorder:
    """Trains as the serial executor does and keeps what every client trained in the first round."""

    executor: SerialExecutor
    trained: NDArray[np.float32] | None = field(default=None, init=False)
    workers: int = 1

    def train(self, tasks: Sequence[CohortTask]) -> list[CohortResult]:
        results: list[CohortResult] = self.executor.train(tasks)
        if self.trained is None:
            self.trained = np.concatenate([result.shared for result in results])
        return results

    def close(self) -> None:
        self.executor.close()


def first_round(
    attack: str, attackers: int, tmp_path: Path
) -> tuple[Cell, Recorder, NDArray[np.float32]]:
    """The cell, what its devices trained, and the model that came of one round."""
    experiment = Experiment(
        method="fedavg",
        dataset="digits",
        model="mlp",
        split="iid",
        devices=6,
        rounds=1,
        samples=20,
        test_per_class=2,
        attack=attack,
        attackers=attackers,
        encoding=Encoding.FLOAT32,
        training=Hyperparameters(learning_rate=0.1),
    )
    folders = StudyFolders(tmp_path / "inputs")
    cell = open_cell(experiment, folders.inputs, folders.datasets)
    recorder = Recorder(SerialExecutor(folders))
    return cell, recorder, run_cell(cell, recorder, Form.EAGER).shared


def test_colluding_attackers_compute_from_the_benign_devices_updates(tmp_path: Path) -> None:
    """ALIE with z = 1.5 by hand: the deviation is taken over the benign devices alone."""
    cell, recorder, shared = first_round("alie:scale=1.5", 2, tmp_path)
    assert recorder.trained is not None
    assert len(cell.attackers) == 2
    benign = recorder.trained[list(cell.benign)].astype(np.float64)
    forged = benign.mean(0) - 1.5 * benign.std(0)
    expected = (benign.sum(0) + 2 * forged) / 6
    np.testing.assert_allclose(shared, expected, rtol=0, atol=1e-6)
    # What the attackers trained themselves must not be in it.
    own = recorder.trained.astype(np.float64)
    other = (benign.sum(0) + 2 * (own.mean(0) - 1.5 * own.std(0))) / 6
    assert np.abs(shared - other).max() > 1e-4


def test_an_upload_that_is_not_finite_is_left_out_of_the_round(tmp_path: Path) -> None:
    cell, recorder, shared = first_round("nan", 1, tmp_path)
    assert recorder.trained is not None
    benign = recorder.trained[list(cell.benign)].astype(np.float64)
    np.testing.assert_allclose(shared, benign.mean(0), rtol=0, atol=1e-6)
    assert np.abs(shared - cell.initial[Group.SHARED]).max() > 1e-3


def test_every_worker_gets_as_many_cohorts_as_the_others() -> None:
    """100 clients on two workers are six cohorts: with five one worker would wait."""
    for clients in (1, 2, 3, 39, 40, 41, 100, 1000):
        for workers in (1, 2, 3, 8):
            cohorts = cut_into_cohorts(range(clients), workers)
            assert [place for cohort in cohorts for place in cohort] == list(range(clients))
            sizes = [len(cohort) for cohort in cohorts]
            assert max(sizes) <= CLIENTS_STACKED
            assert max(sizes) - min(sizes) <= 1
            assert len(cohorts) == clients or len(cohorts) % workers == 0
    assert len(cut_into_cohorts(range(100), 2)) == 6


def test_rows_that_are_not_finite_are_told_from_rows_whose_sum_is_not() -> None:
    rows = np.ones((6, 1000), np.float32)
    rows[1, 17] = np.nan
    rows[2, :2] = np.inf, -np.inf
    rows[3] = np.finfo(np.float32).max
    rows[5, 999] = -np.inf
    assert are_finite(rows).tolist() == [True, False, False, True, True, False]
