"""Every rule against an independent slow implementation in plain Python."""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pfedfrz_coordinator.aggregation import (
    PRE_AGGREGATIONS,
    RULES,
    UpdatesInMemory,
    aggregate,
    find_rule,
)

Rows = list[list[float]]
Twin = Callable[[Rows, int], list[float]]
"""Of updates and the number of attackers; the model that a round starts from is 0.5."""
START = 0.5
SEED = 77


def columns(rows: Rows) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def distance(a: list[float], b: list[float]) -> float:
    return math.dist(a, b)


def plain_mean(rows: Rows, _: int = 0) -> list[float]:
    return [statistics.fmean(column) for column in columns(rows)]


def weighted_mean(rows: Rows, _: int) -> list[float]:
    total = sum(range(1, len(rows) + 1))
    return [
        sum(weight * value for weight, value in enumerate(column, start=1)) / total
        for column in columns(rows)
    ]


def median(rows: Rows, _: int) -> list[float]:
    return [statistics.median(column) for column in columns(rows)]


def trimmed(rows: Rows, f: int) -> list[float]:
    return [statistics.fmean(sorted(column)[f : len(rows) - f]) for column in columns(rows)]


def around_median(rows: Rows, keep: int) -> list[float]:
    result = []
    for column in columns(rows):
        centre = statistics.median(column)
        closest = sorted(column, key=lambda value: (abs(value - centre), value))
        result.append(statistics.fmean(closest[:keep]))
    return result


def meamed(rows: Rows, f: int) -> list[float]:
    return around_median(rows, len(rows) - f)


def score(rows: Rows, index: int, neighbours: int) -> float:
    others = [distance(rows[index], row) ** 2 for j, row in enumerate(rows) if j != index]
    return sum(sorted(others)[:neighbours])


def by_score(rows: Rows, neighbours: int) -> list[int]:
    return sorted(range(len(rows)), key=lambda index: (score(rows, index, neighbours), index))


def krum(rows: Rows, f: int) -> list[float]:
    return rows[by_score(rows, len(rows) - f - 2)[0]]


def multi_krum(rows: Rows, f: int) -> list[float]:
    order = by_score(rows, len(rows) - f - 2)
    return plain_mean([rows[index] for index in order[: len(rows) - f]])


def bulyan(rows: Rows, f: int) -> list[float]:
    left, chosen = list(rows), Rows()
    while len(chosen) < len(rows) - 2 * f:
        neighbours = max(len(left) - f - 2, min(2, len(left) - 1))
        chosen.append(left.pop(by_score(left, neighbours)[0]))
    return around_median(chosen, len(chosen) - 2 * f)


def geometric_median(rows: Rows, _: int) -> list[float]:
    """Weiszfeld as it is written, on points, from the mean."""
    point = plain_mean(rows)
    for _step in range(2000):
        pulls = [1 / max(1e-9, distance(row, point)) for row in rows]
        point = [
            sum(pull * value for pull, value in zip(pulls, column, strict=True)) / sum(pulls)
            for column in columns(rows)
        ]
    return point


def clipping(rows: Rows, iterations: int, radius: float | None = None) -> list[float]:
    point = [START] * len(rows[0])
    longest = statistics.median(distance(row, point) for row in rows) if radius is None else radius
    for _ in range(iterations):
        steps = []
        for row in rows:
            length = distance(row, point)
            cut = min(1.0, longest / length) if length else 1.0
            steps.append([cut * (value - at) for value, at in zip(row, point, strict=True)])
        point = [at + by for at, by in zip(point, plain_mean(steps), strict=True)]
    return point


def nnm(rows: Rows, f: int) -> Rows:
    mixed = Rows()
    for row in rows:
        order = sorted(range(len(rows)), key=lambda j: (distance(rows[j], row), j))
        mixed.append(plain_mean([rows[j] for j in order[: len(rows) - f]]))
    return mixed


def bucketing(rows: Rows, size: int) -> Rows:
    order = np.random.default_rng(SEED).permutation(len(rows)).tolist()
    return [
        plain_mean([rows[index] for index in order[at : at + size]])
        for at in range(0, len(rows), size)
    ]


TWINS: dict[str, Twin] = {
    "mean": weighted_mean,
    "median": median,
    "trimmed-mean:attackers={f}": trimmed,
    "meamed:attackers={f}": meamed,
    "krum:attackers={f}": krum,
    "multi-krum:attackers={f}": multi_krum,
    "bulyan:attackers={f}": bulyan,
    "geometric-median": geometric_median,
    "centered-clipping": lambda rows, _: clipping(rows, 3),
    "centered-clipping:radius=0.7,iterations=5": lambda rows, _: clipping(rows, 5, 0.7),
    "norm-clipping": lambda rows, _: clipping(rows, 1),
    "norm-clipping:radius=0.7": lambda rows, _: clipping(rows, 1, 0.7),
    "nnm+median:attackers={f}": lambda rows, f: median(nnm(rows, f), f),
    "nnm+multi-krum:attackers={f}": lambda rows, f: multi_krum(nnm(rows, f), f),
    "nnm+norm-clipping:attackers=0": lambda rows, _: clipping(nnm(rows, 0), 1),
    "bucketing+mean": lambda rows, _: plain_mean(bucketing(rows, 2)),
    "bucketing+median:bucket_size=3": lambda rows, f: median(bucketing(rows, 3), f),
    "bucketing+nnm+trimmed-mean:attackers={f}": lambda rows, f: trimmed(
        nnm(bucketing(rows, 2), f), f
    ),
}
BY_COORDINATE = ("mean", "median", "trimmed-mean:attackers={f}", "meamed:attackers={f}")


def fast(text: str, updates: np.ndarray) -> np.ndarray:
    start = np.full(updates.shape[1], START, np.float32)
    weights = [float(n) for n in range(1, len(updates) + 1)]
    rule, rows = find_rule(text), UpdatesInMemory(updates)
    return aggregate(rule, rows, weights, reference=start, seed=SEED, block_bytes=256)


def test_every_rule_and_pre_aggregation_has_a_twin() -> None:
    names = {name for text in TWINS for name in text.partition(":")[0].split("+")}
    assert names == {*RULES, *PRE_AGGREGATIONS}


@pytest.mark.parametrize("text", TWINS)
@pytest.mark.parametrize(("clients", "attackers"), [(3, 0), (7, 1), (11, 2), (12, 2), (19, 4)])
def test_a_rule_agrees_with_its_slow_twin(text: str, clients: int, attackers: int) -> None:
    random = np.random.default_rng([clients, attackers])
    for parameters in (1, 5, 9):
        updates = random.normal(size=(clients, parameters)).astype(np.float32)
        updates[:attackers] *= 3
        expected = TWINS[text](updates.astype(float).tolist(), attackers)
        found = fast(text.format(f=attackers), updates)
        # With one parameter an even number of points has many geometric medians.
        if text == "geometric-median" and parameters == 1:
            continue
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("text", BY_COORDINATE)
@given(
    updates=hnp.arrays(
        np.float32,
        st.tuples(st.integers(5, 9), st.integers(1, 6)),
        elements=st.one_of(st.integers(-3, 3), st.floats(-(2.0**100), 2.0**100, width=32)),
    )
)
def test_a_rule_by_coordinate_agrees_also_with_ties_and_wild_values(
    text: str, updates: np.ndarray
) -> None:
    expected = TWINS[text](updates.astype(float).tolist(), 2)
    scale = np.abs(updates).max()
    # Below the normal numbers float32 itself has steps that are coarser than 1e-6 of a value.
    step = np.finfo(np.float32).smallest_subnormal
    np.testing.assert_allclose(fast(text.format(f=2), updates), expected, 1e-6, 1e-7 * scale + step)


@settings(deadline=None)
@given(
    updates=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.integers(-9, 9)
    )
)
@example(np.array([[-5, 0, -6], [-6, 0, -6], [-6, -6, -6], [-6, -6, -6]], np.float32))
def test_no_point_has_a_smaller_sum_of_distances_than_the_geometric_median(
    updates: np.ndarray,
) -> None:
    rows = updates.astype(float).tolist()
    found = fast("geometric-median", updates).astype(float).tolist()
    for other in (geometric_median(rows, 0), *rows):
        least = sum(distance(row, other) for row in rows)
        assert sum(distance(row, found) for row in rows) <= least * (1 + 1e-5) + 1e-4


@pytest.mark.parametrize("honest", [np.zeros((7, 4)), np.diag([1.0, 2.0, 3.0, 4.0]) - 2])
def test_one_update_of_any_size_hides_no_other_from_the_geometric_median(
    honest: np.ndarray,
) -> None:
    """5e8 beside 3e38: their sums of distances are the same double."""
    far = np.zeros((2, 4))
    far[0, 0], far[1] = 5.1e8, np.finfo(np.float32).max
    updates = np.vstack([honest, far]).astype(np.float32)
    found = fast("geometric-median", updates)
    diameter = np.linalg.norm(honest[:, None] - honest, axis=2).max()
    assert np.linalg.norm(found - honest.mean(axis=0)) <= 2 * 7 / 3 * diameter + 1e-6


def test_krum_and_equal_scores_choose_one_update_bit_for_bit() -> None:
    updates = np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32)
    assert fast("krum:attackers=3", updates).tobytes() in {row.tobytes() for row in updates}
    twins = np.repeat(np.array([[1.0], [2.0]], np.float32), 4, axis=0)
    assert fast("krum:attackers=0", twins) == 1.0
