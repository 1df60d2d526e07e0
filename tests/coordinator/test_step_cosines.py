import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_coordinator import step_cosines as module
from pfedfrz_coordinator.step_cosines import step_cosines
from pfedfrz_coordinator.update_store import StoredUpdates, UpdateStore
from pfedfrz_protocol import OperationError

RANDOM = np.random.default_rng(7)


def stored(
    folder: Path, updates: Mapping[str, NDArray[np.floating]], base: NDArray[np.float32]
) -> StoredUpdates:
    store = UpdateStore(folder)
    for name, numbers in updates.items():
        store.put(1, name, numbers)
    return store.open(1, list(updates), len(base), base)


def plainly(steps: Sequence[NDArray[np.floating]], shares: Sequence[float]) -> list[float]:
    """The definition, in long double: each step against what all the others make together."""
    found = []
    for place, step in enumerate(steps):
        own = step.astype(np.longdouble)
        others = sum(
            share * other.astype(np.longdouble)
            for n, (share, other) in enumerate(zip(shares, steps, strict=True))
            if n != place
        )
        lengths = np.sqrt((own * own).sum()) * np.sqrt((others * others).sum())
        found.append(float((own * others).sum() / lengths))
    return found


def mean_of(
    base: NDArray[np.float32], steps: Sequence[NDArray[np.floating]], shares: Sequence[float]
) -> NDArray[np.float32]:
    moved = sum(share * step.astype(np.float64) for share, step in zip(shares, steps, strict=True))
    model: NDArray[np.float32] = (base + moved).astype(np.float32)
    return model


@pytest.mark.parametrize("is_mean", [True, False])
@pytest.mark.parametrize("size", [15, 4096, 16_384])
def test_each_update_is_held_against_what_the_others_make_together(
    tmp_path: Path, size: int, is_mean: bool
) -> None:
    base = RANDOM.standard_normal(size, np.float32)
    halves = [RANDOM.standard_normal(size).astype(np.float16) for _ in range(3)]
    whole = (base + 3 * halves[1]).astype(np.float32)
    rows = stored(tmp_path, {"a": halves[0], "b": whole, "c": halves[2], "d": -halves[0]}, base)
    steps = [halves[0], whole.astype(np.float64) - base, halves[2], -halves[0]]
    shares = [0.1, 0.2, 0.3, 0.4]
    # A robust rule's model may lie anywhere: it says nothing of the mean.
    model = mean_of(base, steps, shares) if is_mean else base + 1
    found = step_cosines(rows, shares, base, model, is_mean=is_mean)
    assert found == pytest.approx(plainly(steps, shares), abs=1e-4 if is_mean else 1e-12)


def test_updates_that_have_nothing_in_common_agree_with_nobody(tmp_path: Path) -> None:
    """Each is a tenth of the mean: held against the mean itself it would be at 0.3."""
    base = np.zeros(10, np.float32)
    steps = {f"d{n}": np.eye(10, dtype=np.float16)[n] for n in range(10)}
    rows = stored(tmp_path, steps, base)
    model = mean_of(base, list(steps.values()), [0.1] * 10)
    found = step_cosines(rows, [0.1] * 10, base, model, is_mean=True)
    assert found == pytest.approx([0.0] * 10, abs=1e-6)


def test_one_that_turns_its_step_round_is_below_zero_and_the_honest_above(tmp_path: Path) -> None:
    base = np.zeros(2000, np.float32)
    common = RANDOM.standard_normal(2000)
    honest = [(common + RANDOM.standard_normal(2000)).astype(np.float16) for _ in range(5)]
    steps = [*honest[:4], -honest[4]]
    rows = stored(tmp_path, {f"d{n}": step for n, step in enumerate(steps)}, base)
    model = mean_of(base, steps, [0.2] * 5)
    *others, turned = step_cosines(rows, [0.2] * 5, base, model, is_mean=True)
    assert turned is not None
    assert turned < -0.5
    assert all(c is not None and c > 0.2 for c in others)


@pytest.mark.parametrize("size", [16_385, 50_000, 1_000_003])
def test_a_large_model_is_estimated_to_a_percent_or_so(tmp_path: Path, size: int) -> None:
    """Layers differ in scale a hundredfold, and the attacker turns one of them alone."""
    scale = np.where(np.arange(size) < size // 3, 1.0, 0.01)
    direction = scale * RANDOM.standard_normal(size)
    honest = [
        (direction + scale * RANDOM.standard_normal(size)).astype(np.float16) for _ in range(3)
    ]
    turn = np.where(np.arange(size) < size // 3, -1, 1).astype(np.float16)
    steps = [honest[0], honest[1], honest[2] * turn]
    shares = [0.4, 0.4, 0.2]
    base = np.zeros(size, np.float32)
    rows = stored(tmp_path, {f"d{n}": step for n, step in enumerate(steps)}, base)
    model = mean_of(base, steps, shares)
    expected = plainly(steps, shares)
    assert expected[2] < -0.4
    assert step_cosines(rows, shares, base, model, is_mean=True) == pytest.approx(
        expected, abs=0.05
    )


def test_what_is_looked_at_in_turns_is_every_parameter_and_none_twice() -> None:
    size, every = 64 * 7 * 3 + 100, 7
    numbers = np.arange(size, dtype=np.float32)
    rows = StoredUpdates((), size, numbers)
    seen = np.concatenate(
        [module._Look(rows, numbers, every, which)._runs(numbers) for which in range(every)]
    )
    assert sorted(seen.tolist()) == numbers.tolist()


@pytest.mark.parametrize("is_mean", [True, False])
def test_reading_in_stretches_and_on_threads_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_mean: bool
) -> None:
    size = 40_000
    base = RANDOM.standard_normal(size, np.float32)
    updates = {f"d{n}": RANDOM.standard_normal(size).astype(np.float16) for n in range(9)}
    rows, shares = stored(tmp_path, updates, base), [1 / 9] * 9
    model = mean_of(base, list(updates.values()), shares)
    alone = step_cosines(rows, shares, base, model, is_mean=is_mean)
    monkeypatch.setattr(module, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    assert step_cosines(rows, shares, base, model, is_mean=is_mean) == alone
    monkeypatch.setattr(module, "_READ_AT_ONCE", 64 * 50)
    again = step_cosines(rows, shares, base, model, is_mean=is_mean)
    assert again == pytest.approx(alone, abs=1e-12)


def test_an_update_without_a_length_or_without_others_has_no_cosine(tmp_path: Path) -> None:
    base = np.ones(8, np.float32)
    rows = stored(tmp_path, {"still": np.zeros(8, np.float16), "moves": base + 1}, base)
    for is_mean in (True, False):
        found = step_cosines(rows, [0.5, 0.5], base, base + np.float32(0.5), is_mean=is_mean)
        assert found == [None, None], "one does not move, and of the other no other does"
    alone = stored(tmp_path / "alone", {"only": base + 1}, base)
    assert step_cosines(alone, [1.0], base, base + 1, is_mean=True) == [None]


def test_updates_at_the_end_of_float32_have_finite_cosines(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    base = np.full(100, -largest, np.float32)
    rows = stored(tmp_path, {"a": -base, "b": np.zeros(100, np.float32), "c": -base}, base)
    found = step_cosines(rows, [1 / 3] * 3, base, -base, is_mean=False)
    assert found == pytest.approx([1.0, 1.0, 1.0])
    assert all(c is not None and math.fabs(c) <= 1 for c in found)


def test_a_damaged_update_is_an_error(tmp_path: Path) -> None:
    base = np.ones(8, np.float32)
    rows = stored(tmp_path, {"a": base}, base)
    rows.paths[0].write_bytes(b"short")
    with pytest.raises(OperationError, match="damaged"):
        step_cosines(rows, [1.0], base, base + 1, is_mean=True)
