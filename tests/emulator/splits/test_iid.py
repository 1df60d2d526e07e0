from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pfedfrz_emulator.splits import IidSplit
from pfedfrz_protocol import ConfigurationError

LABELS = np.repeat(np.arange(10), 100)


@given(st.integers(1, 40), st.integers(2, 60), st.integers(0, 2**40))
def test_every_sample_is_used_at_most_once_and_sizes_are_equal(
    devices: int, samples: int, seed: int
) -> None:
    split = IidSplit().split_labels(LABELS, devices, samples, 10, seed)
    rows = np.concatenate(split.indices)
    assert rows.dtype == np.int64
    assert len(np.unique(rows)) == len(rows)
    assert {len(own) for own in split.indices} == {min(samples, 1000 // devices)}
    assert bool(split.notes) == (samples * devices > 1000 // devices * devices)


def test_what_does_not_fit_is_said() -> None:
    split = IidSplit().split_labels(LABELS, 3, 400, 10, 0)
    assert [len(own) for own in split.indices] == [333, 333, 333]
    assert split.notes == (
        "201 of 1200 samples were left out (the dataset has 1000); devices hold 333 to 333",
    )


def test_devices_see_all_labels_about_alike() -> None:
    split = IidSplit().split_labels(LABELS, 2, 500, 10, 7)
    for own in split.indices:
        assert np.bincount(LABELS[own], minlength=10).min() > 25


def test_the_seed_alone_decides() -> None:
    np.random.seed(1)
    first = IidSplit().split_labels(LABELS, 4, 50, 10, 3)
    np.random.seed(2)
    second = IidSplit().split_labels(LABELS, 4, 50, 10, 3)
    other = IidSplit().split_labels(LABELS, 4, 50, 10, 4)
    assert all((a == b).all() for a, b in zip(first.indices, second.indices, strict=True))
    assert any((a != b).any() for a, b in zip(first.indices, other.indices, strict=True))


@pytest.mark.parametrize(
    ("devices", "samples", "seed", "fault"),
    [
        (0, 10, 0, "devices = 0"),
        (-3, 10, 0, "devices = -3"),
        (5, 1, 0, "samples per device = 1"),
        (5, 10, -1, "seed = -1"),
        (501, 10, 0, "device 0 would get 1 of 10 samples"),
        (2000, 10, 0, "device 0 would get 0 of 10 samples"),
    ],
)
def test_impossible_requests_are_refused(devices: int, samples: int, seed: int, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        IidSplit().split_labels(LABELS, devices, samples, 10, seed)


@pytest.mark.parametrize("labels", [LABELS.astype(float), LABELS[None], LABELS - 1, LABELS + 1])
def test_labels_that_are_no_labels_are_a_value_error(labels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="labels"):
        IidSplit().split_labels(labels, 2, 5, 10, 0)
