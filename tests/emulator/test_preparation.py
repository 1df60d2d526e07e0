"""A prepared fleet: the same data whatever the method, turned images where the split says so."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet_files import write_fleet_files
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet

SMALL = Experiment(
    dataset="digits", model="mlp", devices=4, rounds=1, samples=30, test_per_class=2, seed=3
)


def prepared(**changes: object) -> PreparedFleet:
    return prepare_fleet(msgspec.structs.replace(SMALL, **changes))


@pytest.fixture(scope="module")
def turned() -> PreparedFleet:
    return prepared(split="rotation")


@pytest.mark.parametrize("split", ["dirichlet:alpha=0.3", "pathological"])
def test_every_method_gets_the_same_data_in_the_same_order(split: str) -> None:
    one, other = (
        prepared(split=split, method=method, attackers=1) for method in ("pfedfrz", "fedavg")
    )
    assert one.benign == other.benign
    assert (one.test_x == other.test_x).all()
    for mine, theirs in zip(one.devices, other.devices, strict=True):
        assert (mine.train_x == theirs.train_x).all()
        assert (mine.train_y == theirs.train_y).all()


def test_a_device_is_trained_and_tested_on_images_turned_alike(turned: PreparedFleet) -> None:
    upright = prepared(split="iid")
    assert sorted(device.quarter_turns for device in turned.devices) == [0, 1, 2, 3]
    for device, same in zip(turned.devices, upright.devices, strict=True):
        assert (device.train_y == same.train_y).all()
        for found, straight in (
            (device.train_x, same.train_x),
            (turned.test_inputs(device), upright.test_inputs(same)),
        ):
            back = np.rot90(found, -device.quarter_turns, axes=(2, 3))
            assert (back == straight).all()


def test_processes_find_the_test_samples_that_are_turned_like_theirs(
    turned: PreparedFleet, tmp_path: Path
) -> None:
    files = write_fleet_files(turned, tmp_path, "f", "mqtt://127.0.0.1:1")
    for device in turned.devices:
        file = files.device(device.name)
        named = msgspec.toml.decode(file.read_bytes())["data"]["test"]
        with np.load(file.parent / named) as arrays:
            assert (arrays["x"] == turned.test_inputs(device)).all()
            assert (arrays["y"] == turned.test_y).all()


def test_devices_on_one_machine_share_their_label_mix(
    turned: PreparedFleet, tmp_path: Path
) -> None:
    files = write_fleet_files(turned, tmp_path, "f", "mqtt://127.0.0.1:1")
    for device in turned.devices:
        assert load_device_settings(files.device(device.name)).share_label_mix


def test_a_fleet_of_turned_devices_does_its_rounds(turned: PreparedFleet, tmp_path: Path) -> None:
    MemoryFleet(turned, tmp_path).run()
    assert (tmp_path / "coordinator" / "journal.sqlite").is_file()
