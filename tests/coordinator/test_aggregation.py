"""What holds for every rule: invariants, extreme scales, and bounded memory."""

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_coordinator.aggregation import (
    PRE_AGGREGATIONS,
    RULES,
    UpdatesInMemory,
    aggregate,
    find_rule,
    round_seed,
)
from pfedfrz_protocol import ConfigurationError

CLIENTS = 11
BY_COORDINATE = ("mean", "median", "trimmed-mean:attackers=2", "meamed:attackers=2")
BY_DISTANCE = (
    "geometric-median",
    "krum:attackers=2",
    "multi-krum:attackers=2",
    "bulyan:attackers=2",
    "nnm+krum:attackers=2",
    "nnm+trimmed-mean:attackers=2",
)
BY_CLIPPING = ("centered-clipping", "norm-clipping", "nnm+centered-clipping:attackers=1")
IN_BUCKETS = ("bucketing+median", "bucketing+norm-clipping", "bucketing+nnm+krum:attackers=1")
UNBUCKETED = (*BY_COORDINATE, *BY_DISTANCE, *BY_CLIPPING)
EVERY = (*UNBUCKETED, *IN_BUCKETS)
LARGEST = np.finfo(np.float32).max


@dataclass
class Recorded:
    """Updates that note how much of them is read at once."""

    rows: UpdatesInMemory
    blocks: list[int] = field(default_factory=list)

    @property
    def clients(self) -> int:
        return self.rows.clients

    @property
    def parameters(self) -> int:
        return self.rows.parameters

    def block(self, start: int, stop: int) -> np.ndarray:
        block = self.rows.block(start, stop)
        self.blocks.append(block.nbytes)
        return block

    def row(self, client: int, start: int, stop: int) -> np.ndarray:
        row = self.rows.row(client, start, stop)
        self.blocks.append(row.nbytes)
        return row


def draw(seed: int, parameters: int = 6, clients: int = CLIENTS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(clients, parameters)).astype(np.float32)


def apply(
    text: str,
    updates: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    **options: int,
) -> np.ndarray:
    start = np.zeros(updates.shape[1], np.float32) if reference is None else reference
    counts = np.arange(1, len(updates) + 1) if weights is None else weights
    return aggregate(
        find_rule(text), UpdatesInMemory(updates), counts.tolist(), reference=start, **options
    )


def test_every_rule_and_pre_aggregation_is_among_the_cases() -> None:
    names = {name for text in EVERY for name in text.partition(":")[0].split("+")}
    assert names == {*RULES, *PRE_AGGREGATIONS}


@pytest.mark.parametrize("text", UNBUCKETED)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_clients_does_not_matter(text: str, seed: int) -> None:
    updates, weights = draw(seed), np.arange(1, CLIENTS + 1)
    order = np.random.default_rng(seed + 1).permutation(CLIENTS)
    moved = apply(text, updates[order], weights=weights[order])
    np.testing.assert_allclose(moved, apply(text, updates, weights=weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", EVERY)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-50, 50, width=32),
    scale=st.sampled_from([2.0**-60, 0.125, 8.0, 2.0**60]),
)
def test_a_rule_follows_translation_and_scale(
    text: str, seed: int, shift: float, scale: float
) -> None:
    updates, reference = draw(seed), draw(seed + 1)[0]
    still = apply(text, updates, reference=reference)
    scaled = apply(text, updates * np.float32(scale), reference=reference * np.float32(scale))
    np.testing.assert_allclose(scaled, still * scale, rtol=1e-5, atol=1e-6 * scale)
    by = np.float32(shift)
    moved = apply(text, updates + by, reference=reference + by)
    np.testing.assert_allclose(moved, still + by, atol=1e-4)


@pytest.mark.parametrize("text", EVERY)
def test_a_rule_never_changes_its_input_and_repeats_itself_bit_for_bit(text: str) -> None:
    updates, reference = draw(3), draw(4)[0]
    for array in (updates, reference):
        array.flags.writeable = False
    before = updates.tobytes(), reference.tobytes()
    first = apply(text, updates, reference=reference, seed=5)
    assert first.dtype == np.float32
    assert apply(text, updates, reference=reference, seed=5).tobytes() == first.tobytes()
    assert (updates.tobytes(), reference.tobytes()) == before


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("value", [LARGEST, -LARGEST, np.float32(1e-45), np.float32(0)])
def test_equal_updates_of_any_scale_are_the_result(text: str, value: np.float32) -> None:
    updates = np.full((CLIENTS, 5), value, np.float32)
    result = apply(text, updates, reference=updates[0])
    np.testing.assert_allclose(result, updates[0], rtol=1e-6, atol=1e-45)


@pytest.mark.parametrize("text", EVERY)
def test_the_largest_numbers_of_both_signs_overflow_nowhere(text: str) -> None:
    updates = np.where(draw(0, 40) > 0, LARGEST, -LARGEST)
    assert np.isfinite(apply(text, updates)).all()


@pytest.mark.parametrize("text", [text for text in EVERY if text != "mean"])
def test_one_huge_update_does_not_blur_the_others(text: str) -> None:
    """In 53 bits about a centre that it had moved, all others would be the same."""
    updates = draw(1, 30)
    updates[4] = LARGEST
    result = apply(text, updates)
    assert np.abs(result).max() < 10
    if text in (*BY_COORDINATE, *BY_DISTANCE):
        honest = np.delete(updates, 4, axis=0)
        assert np.linalg.norm(result - honest.mean(axis=0)) < np.linalg.norm(honest, axis=1).max()


@pytest.mark.parametrize("text", BY_COORDINATE)
@pytest.mark.parametrize("block_bytes", [1, 64, 4096])
def test_blocks_of_any_size_give_the_same_bits(text: str, block_bytes: int) -> None:
    updates = draw(2, 137)
    whole = apply(text, updates)
    assert apply(text, updates, block_bytes=block_bytes).tobytes() == whole.tobytes()


@pytest.mark.parametrize("text", [*BY_DISTANCE, *BY_CLIPPING, *IN_BUCKETS])
@pytest.mark.parametrize("block_bytes", [1, 64, 4096])
def test_blocks_of_any_size_give_the_same_to_rounding(text: str, block_bytes: int) -> None:
    updates = draw(2, 137)
    blocked = apply(text, updates, block_bytes=block_bytes)
    np.testing.assert_allclose(blocked, apply(text, updates), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("text", EVERY)
def test_no_more_than_a_block_is_read_at_once(text: str) -> None:
    rows = Recorded(UpdatesInMemory(draw(0, 500)))
    start = np.zeros(500, np.float32)
    aggregate(find_rule(text), rows, [1.0] * CLIENTS, reference=start, block_bytes=2000)
    assert max(rows.blocks) <= 2000
    assert len(rows.blocks) >= 4 * CLIENTS * 500 / 2000


@pytest.mark.parametrize("text", [text for text in EVERY if text != "mean"])
def test_only_the_mean_believes_sample_counts(text: str) -> None:
    updates = draw(6)
    lied = np.array([1_000_000, *[1] * (CLIENTS - 1)])
    assert apply(text, updates, weights=lied).tobytes() == apply(text, updates).tobytes()
    mean = apply("mean", updates, weights=lied)
    np.testing.assert_allclose(mean, updates[0], atol=1e-3)


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_that_is_not_finite_never_makes_a_model_that_is_not(
    text: str, value: float
) -> None:
    updates = draw(7)
    updates[3, 2] = value
    result = np.zeros(0)
    with suppress(ValueError), np.errstate(invalid="ignore"):
        result = apply(text, updates)
    assert np.isfinite(result).all()
    if text == "mean":
        assert not result.size


def test_nothing_and_too_few_updates_are_refused_and_an_empty_shared_group_is_not() -> None:
    nothing = UpdatesInMemory(np.empty((1, 0), np.float32))
    assert aggregate(find_rule("mean"), nothing, [1.0]).shape == (0,)
    with pytest.raises(ValueError, match="nothing to aggregate"):
        aggregate(find_rule("mean"), UpdatesInMemory(np.empty((0, 3), np.float32)), [])
    with pytest.raises(ConfigurationError, match="krum with 2 attackers needs 7 clients, 6 upd"):
        aggregate(find_rule("krum:attackers=2"), UpdatesInMemory(draw(0, 3, 6)), [1.0] * 6)


@pytest.mark.parametrize("text", BY_CLIPPING)
def test_a_clipping_rule_without_the_rounds_model_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="needs the model that the round started from"):
        aggregate(find_rule(text), UpdatesInMemory(draw(0)), [1.0] * CLIENTS)


def test_the_seed_of_a_round_decides_the_buckets() -> None:
    updates = draw(8)
    seeds = [round_seed(1, number) for number in range(8)]
    results = {apply("bucketing+median", updates, seed=seed).tobytes() for seed in seeds}
    assert len(results) > 1
    assert round_seed(1, 2) != round_seed(2, 1)


@pytest.mark.parametrize("text", ["krum:attackers=\udcff", "me\nan", "krum:attackers=\x00"])
def test_rule_of_characters_that_no_terminal_shows_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_rule(text)
    assert str(caught.value).isprintable()


def test_rule_without_end_is_refused_in_one_short_line() -> None:
    with pytest.raises(ConfigurationError, match="of 90000 characters") as caught:
        find_rule("krum+" * 18_000)
    assert len(str(caught.value)) < 200
