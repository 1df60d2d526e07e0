from __future__ import annotations

import numpy as np

from pfedfrz_emulator.splits import label_mix


def test_shares_are_counted_per_device() -> None:
    mix = label_mix([np.array([0, 0, 2, 1]), np.array([2, 2])], 4)
    assert mix.dtype == np.float64
    assert mix.tolist() == [[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]]


def test_a_device_without_samples_has_a_row_of_zeros() -> None:
    assert label_mix([np.array([], np.int64)], 3).tolist() == [[0.0, 0.0, 0.0]]


def test_no_devices_give_an_empty_table() -> None:
    assert label_mix([], 3).shape == (0, 3)
