import math
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
    folder: Path, updates: dict[str, NDArray[np.floating]], base: NDArray[np.float32]
) -> StoredUpdates:
    store = UpdateStore(folder)
    for name, numbers in updates.items():
        store.put(1, name, numbers)
    return store.open(1, list(updates), len(base), base)


def plainly(step: NDArray[np.floating], moved: NDArray[np.floating]) -> float:
    a, b = step.astype(np.longdouble), moved.astype(np.longdouble)
    return float((a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum()))


@pytest.mark.parametrize("size", [1, 15, 4096, 16_384])
def test_a_model_that_is_not_large_is_looked_at_whole(tmp_path: Path, size: int) -> None:
    base = RANDOM.standard_normal(size, np.float32)
    steps = [RANDOM.standard_normal(size).astype(np.float16) for _ in range(3)]
    model = base + np.float32(0.1) * steps[0].astype(np.float32)
    whole = (base + 3 * steps[1]).astype(np.float32)
    rows = stored(tmp_path, {"a": steps[0], "b": whole, "c": steps[2], "d": -steps[0]}, base)
    found = step_cosines(rows, base, model)
    moved = model.astype(np.float64) - base
    owns = [steps[0], whole.astype(np.float64) - base, steps[2], -steps[0]]
    assert found == pytest.approx([plainly(own, moved) for own in owns], abs=1e-12)


@pytest.mark.parametrize("size", [16_385, 50_000, 1_000_003])
def test_a_large_model_is_estimated_to_a_percent_or_so(tmp_path: Path, size: int) -> None:
    """Layers differ in scale a hundredfold, and the attacker turns one of them alone."""
    scale = np.where(np.arange(size) < size // 3, 1.0, 0.01)
    direction = scale * RANDOM.standard_normal(size)
    honest = (direction + scale * RANDOM.standard_normal(size)).astype(np.float16)
    turned = honest * np.where(np.arange(size) < size // 3, -1, 1).astype(np.float16)
    base = np.zeros(size, np.float32)
    rows = stored(tmp_path, {"honest": honest, "turned": turned}, base)
    model = direction.astype(np.float32)
    expected = [plainly(honest, model), plainly(turned, model)]
    assert expected == pytest.approx([0.707, -0.707], abs=0.02)
    assert step_cosines(rows, base, model) == pytest.approx(expected, abs=0.05)


def test_what_is_looked_at_in_turns_is_every_parameter_and_none_twice() -> None:
    size, every = 64 * 7 * 3 + 100, 7
    numbers = np.arange(size, dtype=np.float32)
    rows = StoredUpdates((), size, numbers)
    seen = np.concatenate(
        [module._Look(rows, numbers, every, which)._runs(numbers) for which in range(every)]
    )
    assert sorted(seen.tolist()) == numbers.tolist()


def test_reading_in_stretches_and_on_threads_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 40_000
    base = RANDOM.standard_normal(size, np.float32)
    updates = {f"d{n}": RANDOM.standard_normal(size).astype(np.float16) for n in range(9)}
    rows = stored(tmp_path, updates, base)
    model = base + sum(u.astype(np.float32) for u in updates.values()) / np.float32(9)
    alone = step_cosines(rows, base, model)
    monkeypatch.setattr(module, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    assert step_cosines(rows, base, model) == alone
    monkeypatch.setattr(module, "_READ_AT_ONCE", 64 * 50)
    assert step_cosines(rows, base, model) == pytest.approx(alone, abs=1e-12)


def test_a_step_without_a_length_has_no_cosine(tmp_path: Path) -> None:
    base = np.ones(8, np.float32)
    rows = stored(tmp_path, {"still": np.zeros(8, np.float16), "moves": base + 1}, base)
    still, moves = step_cosines(rows, base, base + 1)
    assert still is None
    assert moves == pytest.approx(1.0)
    assert step_cosines(rows, base, base) == [None, None]


def test_updates_at_the_end_of_float32_have_finite_cosines(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    base = np.full(100, -largest, np.float32)
    rows = stored(tmp_path, {"a": -base, "b": np.zeros(100, np.float32)}, base)
    found = step_cosines(rows, base, -base)
    assert found == pytest.approx([1.0, 1.0])
    assert all(c is not None and math.fabs(c) <= 1 for c in found)


def test_a_damaged_update_is_an_error(tmp_path: Path) -> None:
    base = np.ones(8, np.float32)
    rows = stored(tmp_path, {"a": base}, base)
    rows.paths[0].write_bytes(b"short")
    with pytest.raises(OperationError, match="damaged"):
        step_cosines(rows, base, base + 1)
