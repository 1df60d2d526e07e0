"""Updates on disk: as they came, in groups, out of the way at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pfedfrz_coordinator.aggregation import aggregate, find_rule
from pfedfrz_coordinator.update_store import UpdateStore
from pfedfrz_protocol import OperationError

SIZE = 1000
BASE = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
HALVES = np.random.default_rng(1).standard_normal(SIZE).astype(np.float16)


def test_rows_of_differences_are_the_sums_to_the_bit(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    store.put(1, "half", HALVES)
    store.put(1, "whole", BASE * 2)
    rows = store.open(1, ("half", "whole"), SIZE, BASE)
    np.testing.assert_array_equal(rows.block(10, 20)[0], (BASE + HALVES)[10:20])
    np.testing.assert_array_equal(rows.row(0, 0, SIZE), BASE + HALVES)
    np.testing.assert_array_equal(rows.row(1, 5, 9), (BASE * 2)[5:9])


def test_differences_without_their_model_are_an_error_and_no_guess(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    store.put(1, "a", HALVES)
    with pytest.raises(OperationError, match="the model is not given"):
        store.open(1, ("a",), SIZE).row(0, 0, SIZE)


def test_what_is_written_aside_counts_only_when_adopted(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    store.prepare(1)
    written = {name: store.write_aside(1, name, HALVES) for name in ("a", "b", "c")}
    assert not any(store.holds(1, name, SIZE) for name in written)
    store.discard(written.pop("c"))
    store.adopt(1, written)
    assert [store.holds(1, name, SIZE) for name in ("a", "b", "c")] == [True, True, False]
    assert len(list((tmp_path / f"{1:09d}").iterdir())) == 2


def test_an_update_is_kept_in_one_form_only(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    store.put(1, "a", BASE)
    store.put(1, "a", HALVES)
    (file,) = (tmp_path / f"{1:09d}").iterdir()
    assert file.name == "a.float16"


def test_a_file_of_another_length_is_no_update(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    store.put(1, "a", HALVES[:-1])
    assert not store.holds(1, "a", SIZE)
    with pytest.raises(OperationError, match="missing or damaged"):
        store.open(1, ("a",), SIZE, BASE)


def test_a_dropped_round_is_gone_at_once_and_its_space_soon(tmp_path: Path) -> None:
    store = UpdateStore(tmp_path)
    for number in (1, 2, 3):
        store.put(number, "a", HALVES)
    (tmp_path / "000000000.dropped").mkdir()  # what a kill has left
    store.drop_through(2)
    assert not store.holds(1, "a", SIZE)
    assert not store.holds(2, "a", SIZE)
    assert store.holds(3, "a", SIZE)
    deadline = time.monotonic() + 10
    while len(list(tmp_path.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"{3:09d}"]


def test_the_mean_of_differences_is_that_of_the_sums_whatever_the_block(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    store, names = UpdateStore(tmp_path), [f"d{n}" for n in range(20)]
    steps = {name: random.standard_normal(SIZE).astype(np.float16) for name in names}
    for name in reversed(names):  # the order of arrival is not the order of the sum
        store.put(1, name, steps[name])
    rows = store.open(1, names, SIZE, BASE)
    weights = [float(n + 1) for n in range(20)]
    results = {
        aggregate(find_rule("mean"), rows, weights, block_bytes=size).tobytes()
        for size in (1 << 20, 5000, 100)
    }
    assert len(results) == 1
    shares = np.array(weights) / sum(weights)
    total = np.zeros(SIZE)
    for share, name in zip(shares, names, strict=True):
        total += share * (BASE + steps[name]).astype(np.float64)
    np.testing.assert_array_equal(
        np.frombuffer(results.pop(), np.float32), total.astype(np.float32)
    )
