"""Attackers in real devices: what the fleet's coordinator is sent is what the equations say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_coordinator.journal import Journal
from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.runtimes import Runtime, StepResult, load_runtime
from pfedfrz_emulator.attacks import Attacker, find_attack, load_orders
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import PreparedDevice, PreparedFleet, prepare_fleet
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Encoding,
    Group,
    Hyperparameters,
    Parameters,
    Purpose,
)

SEED = 5
LoadRuntime = Callable[[str, Bundle], Runtime]


@pytest.fixture(scope="module")
def honest() -> PreparedFleet:
    """Five devices of which two are to attack, one round, nothing rounded on the wire."""
    return prepare_fleet(
        Experiment(
            dataset="digits",
            model="mlp",
            iid=True,
            devices=5,
            attackers=2,
            rounds=1,
            samples=20,
            test_per_class=2,
            seed=SEED,
            encoding=Encoding.FLOAT32,
            training=Hyperparameters(batch_size=5, learning_rate=0.1),
        )
    )


def with_attack(fleet: PreparedFleet, attack: str) -> PreparedFleet:
    return replace(fleet, experiment=msgspec.structs.replace(fleet.experiment, attack=attack))


def trained_in_round_one(
    fleet: PreparedFleet,
    device: PreparedDevice,
    attacker: Attacker | None = None,
    load: LoadRuntime = load_runtime,
) -> Parameters:
    """S_i by local training alone; with an attacker's data where one is given."""
    manifest = fleet.bundle.manifest
    x, y = device.train_x, device.train_y
    if attacker:
        x, y = attacker.poison(x, y, manifest.input.classes)
    data = LocalData(LabelledData(x, y), None, manifest.input.classes)
    runtime = load(device.runtime, fleet.bundle)
    training = LocalTraining(runtime, manifest, data, device.name, SEED)
    shared, personal = (fleet.bundle.initial_weights(g) for g in (Group.SHARED, Group.PERSONAL))
    return training.run(1, Purpose.TRAIN, shared, personal).shared


class Climbing:
    """The runtime of an attacker whose shared weights climb twice as fast as others descend."""

    name = "climbing"

    def __init__(self, name: str, bundle: Bundle) -> None:
        self._runtime = load_runtime(name, bundle)
        self._shared = bundle.initial_weights(Group.SHARED).keys()
        self.predict = self._runtime.predict

    def gradients(self, *batch: Any) -> StepResult:
        step = self._runtime.gradients(*batch)
        for name in self._shared & step.gradients.keys():
            step.gradients[name] = -2 * step.gradients[name]
        return step


def expected_model(
    fleet: PreparedFleet, attackers_runtime: LoadRuntime = load_runtime
) -> Parameters:
    """The mean of what everybody should have sent, all with the same number of samples."""
    attack = fleet.experiment.resolve_attack()
    received = fleet.bundle.initial_weights(Group.SHARED)
    attackers = [device for device in fleet.devices if device.attacker]
    known = [trained_in_round_one(fleet, device) for device in attackers]
    uploads = []
    for device in fleet.devices:
        attacker = Attacker(attack, device.name, SEED) if device.attacker else None
        load = attackers_runtime if attacker else load_runtime
        trained = trained_in_round_one(fleet, device, attacker, load)
        if attacker:
            trained = attacker.tamper(
                1, received, trained, known=known, participants=5, attackers=2
            )
        uploads.append(trained)
    return {
        name: np.mean([upload[name] for upload in uploads], axis=0, dtype=np.float64).astype(
            np.float32
        )
        for name in received
    }


def final_model(fleet: PreparedFleet, directory: Path) -> Parameters:
    MemoryFleet(fleet, directory).run()
    return Checkpoints(directory / "coordinator" / "models").load(1)


@pytest.mark.parametrize(
    "attack",
    ["label-flip", "ipm:scale=2", "alie:scale=1.5", "min-max", "mimic", "gaussian", "backdoor"],
)
def test_the_model_of_a_fleet_is_the_mean_of_what_the_equations_say(
    honest: PreparedFleet, tmp_path: Path, attack: str
) -> None:
    fleet = with_attack(honest, attack)
    found, expected = final_model(fleet, tmp_path), expected_model(fleet)
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, rtol=1e-4, atol=1e-5)


def test_gradients_are_negated_for_shared_weights_alone(
    honest: PreparedFleet, tmp_path: Path
) -> None:
    peaceful = with_attack(honest, "gradient-negation:start_round=2")
    climbing = with_attack(honest, "gradient-negation:scale=2")
    for name, weight in expected_model(peaceful, Climbing).items():
        assert (np.abs(weight - expected_model(peaceful)[name]) > 1e-3).any()
    for fleet, kind in ((peaceful, load_runtime), (climbing, Climbing)):
        found = final_model(fleet, tmp_path / kind.__name__)
        for name, weight in expected_model(fleet, kind).items():
            np.testing.assert_allclose(found[name], weight, rtol=1e-4, atol=1e-5)


def test_updates_that_are_no_numbers_are_sent_and_refused(
    honest: PreparedFleet, tmp_path: Path
) -> None:
    fleet = with_attack(honest, "nan")
    found = final_model(fleet, tmp_path)
    assert all(np.isfinite(weight).all() for weight in found.values())
    journal = Journal(tmp_path / "coordinator" / "journal.sqlite", read_only=True)
    try:
        metrics = journal.rounds()[0].metrics
    finally:
        journal.close()
    assert metrics is not None
    assert dict(metrics.rejected) == {"not-finite": 2}


def test_an_attack_that_does_not_fit_the_data_is_refused_before_anything_runs(
    honest: PreparedFleet,
) -> None:
    attack = "backdoor:target=10"
    with pytest.raises(ConfigurationError, match="backdoor: target = 10; labels go to 9"):
        prepare_fleet(msgspec.structs.replace(honest.experiment, attack=attack))


def test_orders_are_read_from_a_file_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "attack.toml"
    file.write_text('attack = "ipm:scale=2"\nattackers = ["a"]\ncollusion = "meet"\n')
    orders = load_orders(file)
    assert find_attack(orders.attack).name == "ipm"
    assert orders.collusion == tmp_path / "meet"
    file.write_text('attack = "imp"\nattackers = ["a"]\ncollusion = "meet"\n')
    with pytest.raises(ConfigurationError, match=r"attack\.toml: unknown attack 'imp'"):
        load_orders(file)
