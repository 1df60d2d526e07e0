"""Blocks of columns in several threads: the same bits, and no more memory at once."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_coordinator.aggregation import UpdatesInMemory, aggregate, find_rule, round_updates

CLIENTS, PARAMETERS = 7, 50_003


class Watched(UpdatesInMemory):
    """Updates that remember who read which columns."""

    def __init__(self, updates: NDArray[np.float32]) -> None:
        super().__init__(updates)
        object.__setattr__(self, "read", [])

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        self.read.append((threading.get_ident(), start, stop))  # type: ignore[attr-defined]
        return super().block(start, stop)

    def row(self, client: int, start: int, stop: int) -> NDArray[np.float32]:
        if client == 0:  # the others are read where the first is
            self.read.append((threading.get_ident(), start, stop))  # type: ignore[attr-defined]
        return super().row(client, start, stop)


@pytest.fixture
def rows() -> Watched:
    random = np.random.default_rng(0)
    return Watched(random.standard_normal((CLIENTS, PARAMETERS)).astype(np.float32))


@pytest.mark.parametrize(
    "name",
    [
        "mean",
        "median",
        "trimmed-mean:attackers=2",
        "meamed:attackers=2",
        "multi-krum:attackers=2",
        "nnm+median:attackers=2",
    ],
)
@pytest.mark.parametrize("block_bytes", [1 << 12, 1 << 18, 1 << 30])
def test_any_number_of_threads_gives_the_same_bits(
    name: str, block_bytes: int, rows: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.arange(1, CLIENTS + 1)
    results = []
    monkeypatch.setattr(round_updates, "_NUMBERS_WORTH_A_THREAD", 1000)
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr(round_updates, "available_cores", lambda cores=cores: cores)
        results.append(aggregate(find_rule(name), rows, weights, block_bytes=block_bytes))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(("name", "bytes_a_column"), [("median", 4 * CLIENTS), ("mean", 12)])
def test_threads_share_the_columns_and_the_memory(
    name: str, bytes_a_column: int, rows: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_updates, "_NUMBERS_WORTH_A_THREAD", 1000)
    monkeypatch.setattr(round_updates, "available_cores", lambda: 4)
    limit = 1 << 18
    aggregate(find_rule(name), rows, [1.0] * CLIENTS, block_bytes=limit)
    read = rows.read  # type: ignore[attr-defined]
    assert len({thread for thread, _, _ in read}) > 1
    columns = sorted((start, stop) for _, start, stop in read)
    assert [start for start, _ in columns] == [0, *(stop for _, stop in columns[:-1])]
    assert columns[-1][1] == PARAMETERS
    assert max(stop - start for start, stop in columns) * bytes_a_column * 4 <= limit
    assert len(columns) % 4 == 0


def test_a_small_round_stays_in_its_thread(rows: Watched) -> None:
    aggregate(find_rule("mean"), rows, [1.0] * CLIENTS, block_bytes=1 << 16)
    assert {thread for thread, _, _ in rows.read} == {threading.get_ident()}  # type: ignore[attr-defined]


def test_what_goes_wrong_in_a_thread_is_raised(
    rows: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_updates, "_NUMBERS_WORTH_A_THREAD", 1000)
    monkeypatch.setattr(round_updates, "available_cores", lambda: 2)

    def broken(start: int, stop: int) -> NDArray[np.float32]:
        raise OSError(f"no columns {start} to {stop}")

    object.__setattr__(rows, "block", broken)
    with pytest.raises(OSError, match="no columns"):
        aggregate(find_rule("median"), rows, [1.0] * CLIENTS)
