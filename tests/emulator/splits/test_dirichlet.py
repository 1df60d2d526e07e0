from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pfedfrz_emulator.splits import DirichletSplit, label_mix
from pfedfrz_protocol import ConfigurationError

BALANCED = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 600))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-3, 1e3),
    st.integers(1, 30),
    st.integers(2, 300),
    st.integers(0, 2**40),
)
def test_every_sample_is_used_at_most_once_and_no_device_gets_more_than_it_wants(
    alpha: float, devices: int, samples: int, seed: int
) -> None:
    try:
        split = DirichletSplit(alpha).split_labels(BALANCED, devices, samples, 10, seed)
    except ConfigurationError:
        # Too many devices for one label: the refusal has its own test.
        assume(devices * samples <= 600)
        raise
    rows = np.concatenate(split.indices)
    assert rows.dtype == np.int64
    assert len(np.unique(rows)) == len(rows)
    assert len(split.indices) == devices
    sizes = [len(own) for own in split.indices]
    assert max(sizes) <= samples
    assert min(sizes) >= 2
    assert bool(split.notes) == (sum(sizes) < samples * devices)


def test_a_small_alpha_gives_few_labels_and_a_large_one_all() -> None:
    def effective_labels(alpha: float) -> float:
        split = DirichletSplit(alpha).split_labels(BALANCED, 20, 200, 10, 1)
        mix = label_mix([BALANCED[own] for own in split.indices], 10)
        return float((1 / (mix**2).sum(axis=1)).mean())

    assert effective_labels(0.1) < 3
    assert effective_labels(100) > 9
    assert effective_labels(0.1) < effective_labels(1) < effective_labels(100)


def test_the_label_mix_follows_the_distribution() -> None:
    # Var[q_k] = (1/K)(1 - 1/K) / (K alpha + 1), plus the multinomial's (1 - sum q^2) / n.
    alpha, classes, samples, devices = 0.5, 10, 100, 400
    labels = np.repeat(np.arange(classes), 20_000)
    split = DirichletSplit(alpha).split_labels(labels, devices, samples, classes, 5)
    assert split.notes == ()
    mix = label_mix([labels[own] for own in split.indices], classes)
    dirichlet = 0.1 * 0.9 / (classes * alpha + 1)
    expected = dirichlet + (0.1 - dirichlet - 0.01) / samples
    assert mix.mean() == pytest.approx(0.1)
    assert mix.var() == pytest.approx(expected, rel=0.08)


def test_a_contested_label_is_shared_and_the_rest_is_drawn_from_the_own_mix() -> None:
    # Forty of label 0 for devices that want about two hundred of it.
    labels = np.repeat([0, 1], [40, 4000])
    split = DirichletSplit(50.0).split_labels(labels, 4, 100, 2, 0)
    assert split.notes == ()
    held = [int((labels[own] == 0).sum()) for own in split.indices]
    assert sum(held) == 40
    assert min(held) >= 8
    assert [len(own) for own in split.indices] == [100] * 4


def test_what_does_not_fit_is_said_with_its_labels() -> None:
    labels = np.repeat([0, 1], [100, 60])
    split = DirichletSplit(50.0).split_labels(labels, 2, 100, 2, 0)
    assert sum(len(own) for own in split.indices) == 160
    sizes = sorted(len(own) for own in split.indices)
    assert split.notes == (
        "40 of 200 samples were left out (no sample is left of label 0, 1); "
        f"devices hold {sizes[0]} to {sizes[1]}",
    )


def test_the_seed_alone_decides() -> None:
    def rows(seed: int) -> list[list[int]]:
        split = DirichletSplit(0.3).split_labels(BALANCED, 5, 80, 10, seed)
        return [own.tolist() for own in split.indices]

    assert rows(11) == rows(11)
    assert rows(11) != rows(12)


def test_the_split_is_pinned() -> None:
    # Changing this changes every published figure: do it knowingly.
    split = DirichletSplit(0.1).split_labels(BALANCED, 3, 50, 10, 0)
    assert [np.bincount(BALANCED[own], minlength=10).tolist() for own in split.indices] == [
        [0, 8, 11, 0, 1, 0, 0, 30, 0, 0],
        [0, 4, 0, 2, 0, 0, 21, 0, 18, 5],
        [0, 0, 0, 6, 0, 0, 43, 1, 0, 0],
    ]


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1e7, float("nan"), float("inf")])
def test_an_alpha_that_is_no_concentration_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigurationError, match="want a number above 0"):
        DirichletSplit(alpha)


def test_the_extremes_of_alpha_give_one_label_and_all_labels() -> None:
    for alpha, labels in ((5e-324, 1), (1e6, 10)):
        split = DirichletSplit(alpha).split_labels(BALANCED, 4, 100, 10, 0)
        assert [len(np.unique(BALANCED[own])) for own in split.indices] == [labels] * 4


def test_a_device_without_samples_is_refused() -> None:
    labels = np.arange(10)
    with pytest.raises(ConfigurationError, match="use fewer devices"):
        DirichletSplit(0.01).split_labels(labels, 8, 10, 10, 0)


def test_a_thousand_devices_are_split() -> None:
    split = DirichletSplit(0.1).split_labels(np.repeat(np.arange(10), 6000), 1000, 60, 10, 0)
    assert len(split.indices) == 1000
