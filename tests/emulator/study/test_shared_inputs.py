"""The mapped inputs of a study: written once, and never those of another dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pfedfrz_emulator.study.shared_inputs import map_dataset


def write(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 4
    np.savez(path, x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])


@pytest.fixture(autouse=True)
def as_a_new_process() -> None:
    map_dataset.cache_clear()


def test_inputs_are_those_of_the_dataset_and_are_written_once(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz", seed=0)
    name, folder = f"npz:{tmp_path / 'mine.npz'}", tmp_path / "inputs"
    first = map_dataset(name, (1, 28, 28), folder)
    expected = first.dataset.inputs(first.dataset.train_x)
    np.testing.assert_array_equal(first.train_x, expected)
    assert first.test_x.shape == (10, 1, 28, 28)
    assert first.train_x.dtype == np.float32
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(written) == 2
    map_dataset.cache_clear()
    map_dataset(name, (1, 28, 28), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_a_file_that_has_changed_under_its_name_is_mapped_anew(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz", seed=0)
    name, folder = f"npz:{tmp_path / 'mine.npz'}", tmp_path / "inputs"
    before = np.array(map_dataset(name, (1, 28, 28), folder).train_x)
    write(tmp_path / "mine.npz", seed=1)
    map_dataset.cache_clear()
    after = map_dataset(name, (1, 28, 28), folder)
    np.testing.assert_array_equal(after.train_x, after.dataset.inputs(after.dataset.train_x))
    assert not np.array_equal(after.train_x, before)
