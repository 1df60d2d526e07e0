"""A study's cell and a fleet of real devices come to the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from emulated_runs import ROUNDS, final_shared
from numpy.typing import NDArray
from study_executors import SerialExecutor

from pfedfrz_edge.personal_store import PersonalStore
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import prepare_fleet
from pfedfrz_emulator.study.cell import Cell, open_cell
from pfedfrz_emulator.study.cohort import StudyFolders
from pfedfrz_emulator.study.forms import Form
from pfedfrz_emulator.study.rounds import CellOutcome, run_cell
from pfedfrz_protocol import Encoding, Group, Hyperparameters, Parameters

TOLERANCE = 1e-4

SMALL = Experiment(
    dataset="digits",
    model="mlp",
    alpha=1.0,
    devices=4,
    rounds=ROUNDS,
    samples=50,
    test_per_class=5,
    participants=0,
    encoding=Encoding.FLOAT32,
    training=Hyperparameters(learning_rate=0.05),
)

CASES = {
    "dense": SMALL,
    "convolutions": msgspec.structs.replace(SMALL, model="cnn-small", seed=3),
    "as the wire rounds by default": msgspec.structs.replace(
        SMALL, encoding=Encoding.DELTA_FLOAT16, training=Hyperparameters()
    ),
    "momentum, decay and clipping": msgspec.structs.replace(
        SMALL,
        training=Hyperparameters(
            epochs=2, learning_rate=0.02, momentum=0.5, weight_decay=1e-3, clip_norm=1.0
        ),
    ),
    "proximal": msgspec.structs.replace(
        SMALL, method="fedprox", training=Hyperparameters(epochs=2, proximal=0.5)
    ),
    "shared after personal": msgspec.structs.replace(SMALL, method="fedalt"),
    "convolutions, shared after personal": msgspec.structs.replace(
        SMALL, model="cnn-small", method="fedalt", seed=3
    ),
    "an attack on updates, and the median": msgspec.structs.replace(
        SMALL, attack="sign-flip", attackers=1, aggregation="median"
    ),
    "an attack on gradients": msgspec.structs.replace(
        SMALL, attack="gradient-negation", attackers=1
    ),
    "an attack on data": msgspec.structs.replace(SMALL, attack="label-flip", attackers=1),
    "a copy of the shared weights": msgspec.structs.replace(
        SMALL, method="ditto", training=Hyperparameters(epochs=2, proximal=0.3)
    ),
    "turned images": msgspec.structs.replace(SMALL, split="rotation", test_per_class=8),
}


@dataclass(frozen=True, eq=False)
class FleetWeights:
    """What a fleet of devices came to."""

    shared: Parameters
    personal: tuple[Parameters, ...]
    """Of every device, in the order of their names."""


def run_fleet(experiment: Experiment, directory: Path) -> FleetWeights:
    fleet = prepare_fleet(experiment)
    running = MemoryFleet(fleet, directory)
    running.run()
    digest = fleet.bundle.manifest.digest
    personal: list[Parameters] = []
    for device in fleet.devices:
        stored = PersonalStore(running.device_dir(device.name), digest).load()
        personal.append({} if stored is None else stored.weights)
    return FleetWeights(final_shared(directory), tuple(personal))


def run_study_cell(experiment: Experiment, form: Form, inputs: Path) -> tuple[Cell, CellOutcome]:
    folders = StudyFolders(inputs)
    cell = open_cell(experiment, folders.inputs, folders.datasets)
    return cell, run_cell(cell, SerialExecutor(folders, workers=2), form)


def vector(cell: Cell, group: Group, weights: Parameters) -> NDArray[np.float32]:
    parts = [weights[name].reshape(-1) for name in cell.layouts[group].names]
    return np.concatenate([np.zeros(0, np.float32), *parts])


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study-inputs")


@pytest.mark.parametrize("name", CASES)
def test_a_cell_comes_to_the_weights_of_its_fleet_in_every_form(
    name: str, tmp_path: Path, inputs: Path
) -> None:
    experiment = CASES[name]
    fleet = run_fleet(experiment, tmp_path)
    for form in Form:
        cell, outcome = run_study_cell(experiment, form, inputs)
        difference = np.abs(outcome.shared - vector(cell, Group.SHARED, fleet.shared)).max()
        assert difference < TOLERANCE, form
        moved = np.abs(outcome.shared - cell.initial[Group.SHARED]).max()
        assert moved > 20 * TOLERANCE, "weights that hardly move agree with anything"
        if not cell.layouts[Group.PERSONAL].size:
            continue
        for place, own in enumerate(fleet.personal):
            expected = vector(cell, Group.PERSONAL, own)
            assert np.abs(outcome.personal[place] - expected).max() < TOLERANCE, (form, place)


@pytest.mark.parametrize("model", ["mlp", "cnn-small"])
def test_forms_agree_in_weights_and_accuracies(model: str, inputs: Path) -> None:
    """Devices of unequal sizes: at this alpha a label runs out, and a device gets fewer."""
    experiment = msgspec.structs.replace(
        SMALL,
        model=model,
        alpha=0.1,
        devices=5,
        samples=320,
        rounds=1,
        training=Hyperparameters(momentum=0.5, learning_rate=0.02),
    )
    outcomes = {form: run_study_cell(experiment, form, inputs) for form in Form}
    cell, eager = outcomes[Form.EAGER]
    assert len({len(rows) for rows in cell.rows}) > 1
    for form in Form:
        other = outcomes[form][1]
        assert np.abs(other.shared - eager.shared).max() < TOLERANCE, form
        assert np.abs(other.personal - eager.personal).max() < TOLERANCE, form
        for one, two in zip(eager.measurements, other.measurements, strict=True):
            # One test sample on the border between two classes may fall to either side.
            np.testing.assert_allclose(one.local, two.local, atol=0.05)
            np.testing.assert_allclose(one.received, two.received, atol=0.05)


@pytest.mark.parametrize("form", Form)
def test_weights_do_not_depend_on_how_many_workers_there_are(form: Form, inputs: Path) -> None:
    """Cohorts of other sizes are other matrix products: equal but for the last bits."""
    experiment = msgspec.structs.replace(SMALL, devices=9, rounds=2)
    folders = StudyFolders(inputs)
    cell = open_cell(experiment, folders.inputs, folders.datasets)
    one, three = (run_cell(cell, SerialExecutor(folders, workers), form) for workers in (1, 3))
    assert np.abs(one.shared - three.shared).max() < 1e-6
    assert np.abs(one.personal - three.personal).max() < 1e-6
