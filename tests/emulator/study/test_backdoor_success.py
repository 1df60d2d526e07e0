"""What a study says about a backdoor: whether benign devices' models obey its trigger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from study_executors import SerialExecutor

from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.study.backdoor_success import backdoor_success
from pfedfrz_emulator.study.cell import Cell, open_cell
from pfedfrz_emulator.study.cohort import StudyFolders
from pfedfrz_emulator.study.forms import Form
from pfedfrz_emulator.study.rounds import CellOutcome, run_cell
from pfedfrz_protocol import Group, Hyperparameters

BACKDOOR = Experiment(
    method="fedavg",
    dataset="digits",
    model="mlp",
    split="iid",
    devices=6,
    rounds=8,
    samples=100,
    attack="backdoor:scale=2,target=3,size=2",
    attackers=3,
    training=Hyperparameters(epochs=2, learning_rate=0.1),
)


def run(experiment: Experiment, tmp_path: Path) -> tuple[Cell, CellOutcome]:
    folders = StudyFolders(tmp_path / "inputs")
    cell = open_cell(experiment, folders.inputs, folders.datasets)
    return cell, run_cell(cell, SerialExecutor(folders), Form.STACKED)


def test_a_shared_model_carries_the_backdoor_and_a_local_one_does_not(tmp_path: Path) -> None:
    rates: list[float] = []
    for changed in ({}, {"attackers": 0}, {"method": "local"}):
        rate = backdoor_success(*run(msgspec.structs.replace(BACKDOOR, **changed), tmp_path))
        assert rate is not None
        rates.append(rate)
    planted, calm, local = rates
    assert planted > 0.8
    assert calm < 0.2
    assert local < 0.2


def test_other_attacks_have_no_such_number(tmp_path: Path) -> None:
    experiment = msgspec.structs.replace(BACKDOOR, attack="sign-flip", rounds=1)
    assert backdoor_success(*run(experiment, tmp_path)) is None


def test_the_rate_is_that_of_each_devices_own_model(tmp_path: Path) -> None:
    """A head that always answers the target obeys every trigger; one that never does obeys none."""
    experiment = msgspec.structs.replace(
        BACKDOOR, method="fedsim", personal=("head",), rounds=1, attackers=2
    )
    cell, outcome = run(experiment, tmp_path)
    personal = np.zeros_like(outcome.personal)
    target = 3
    answers_target = cell.benign[0]
    personal[:, -10 + target] = -1.0
    personal[answers_target, -10 + target] = 1.0
    assert cell.layouts[Group.PERSONAL].names[-1].endswith("bias")
    rate = backdoor_success(cell, replace(outcome, personal=personal))
    assert rate == pytest.approx(1 / len(cell.benign))
    # A device whose weights have left the finite numbers has no model to ask.
    personal[answers_target] = np.nan
    assert backdoor_success(cell, replace(outcome, personal=personal)) == 0.0
