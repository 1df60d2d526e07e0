"""A worker's disk: what it says it holds it can add up, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pfedfrz_coordinator.aggregation import ExactSum
from pfedfrz_coordinator.worker_store import HeldHeader, NotHeld, WorkerStore

OLD, NEW = "1" * 64, "2" * 64


@pytest.fixture
def store(tmp_path: Path) -> WorkerStore:
    made = WorkerStore(tmp_path / "w1", 3)
    made.prepare()
    return made


def halves(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float16)


def test_what_was_put_is_found_by_another_start_and_added_up_exactly(store: WorkerStore) -> None:
    store.put(1, "a", NEW, HeldHeader(2, 1.5), halves(1, 2, 3))
    store.put(1, "b", NEW, HeldHeader(5, 2.5), halves(-1, 0, 6e-8))
    again = WorkerStore(store.directory, 3)
    again.prepare()
    assert again.find(1, "a", NEW) == HeldHeader(2, 1.5)
    expected = ExactSum(3)
    expected.add(halves(-1, 0, 6e-8), 5)
    expected.add(halves(1, 2, 3), 2)
    assert again.add_up(1, [("a", NEW), ("b", NEW)]).encode() == expected.encode()


def test_an_update_that_is_named_twice_counts_once(store: WorkerStore) -> None:
    store.put(1, "a", NEW, HeldHeader(2, 1.5), halves(1, 2, 3))
    assert store.add_up(1, [("a", NEW), ("a", NEW)]).samples == 2


def test_another_update_of_the_same_device_does_not_take_its_place(store: WorkerStore) -> None:
    store.put(1, "a", OLD, HeldHeader(2, 1.0), halves(1, 2, 3))
    store.put(1, "a", NEW, HeldHeader(3, 2.0), halves(4, 5, 6))
    assert store.add_up(1, [("a", OLD)]).samples == 2
    assert store.add_up(1, [("a", NEW)]).samples == 3


def test_what_is_not_here_is_named_and_no_sum_is_made(store: WorkerStore) -> None:
    store.put(1, "a", NEW, HeldHeader(2, 1.5), halves(1, 2, 3))
    with pytest.raises(NotHeld) as caught:
        store.add_up(1, [("b", NEW), ("a", NEW), ("a2", NEW)])
    assert caught.value.devices == ("a2", "b")[::-1]
    with pytest.raises(NotHeld):
        store.add_up(2, [("a", NEW)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\xff" * len(data),
        lambda data: data[:5] + b"x" + data[6:],
        lambda data: data[:-2] + np.float16(np.nan).tobytes(),
        lambda data: data.replace(b'"samples":2', b'"samples":0'),
    ],
)
def test_a_damaged_file_is_not_held(store: WorkerStore, damage: object) -> None:
    store.put(1, "a", NEW, HeldHeader(2, 1.5), halves(1, 2, 3))
    (path,) = store.directory.rglob("a@*")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert store.find(1, "a", NEW) is None
    with pytest.raises(NotHeld):
        store.add_up(1, [("a", NEW)])


def test_rounds_before_are_dropped_and_what_a_kill_left_is_cleared(store: WorkerStore) -> None:
    for number in (1, 2, 3):
        store.put(number, "a", NEW, HeldHeader(2, 1.5), halves(1, 2, 3))
    store.drop_before(2)
    assert sorted(f.name for f in store.directory.iterdir()) == ["000000002", "000000003"]
    left = store.directory / "000000002" / f"b@{NEW}.partial-1"
    left.write_bytes(b"half")
    store.prepare()
    assert not left.exists()
    assert store.find(2, "a", NEW) is not None
