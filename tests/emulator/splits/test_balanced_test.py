from __future__ import annotations

import numpy as np
import pytest

from pfedfrz_emulator.splits import select_test
from pfedfrz_protocol import ConfigurationError

LABELS = np.repeat([0, 1, 2], [30, 7, 12])


@pytest.mark.parametrize(("per_class", "expected"), [(5, 5), (7, 7), (20, 7), (None, 7)])
def test_every_label_is_equally_frequent(per_class: int | None, expected: int) -> None:
    rows = select_test(LABELS, 3, per_class, 0)
    assert np.bincount(LABELS[rows]).tolist() == [expected] * 3
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.dtype == np.int64


def test_the_seed_decides_which() -> None:
    assert select_test(LABELS, 3, 5, 1).tolist() == select_test(LABELS, 3, 5, 1).tolist()
    assert select_test(LABELS, 3, 5, 1).tolist() != select_test(LABELS, 3, 5, 2).tolist()


@pytest.mark.parametrize(
    ("classes", "per_class", "seed", "fault"),
    [
        (4, 5, 0, "no sample of label 3"),
        (3, 0, 0, "per class = 0"),
        (3, 5, -1, "seed = -1"),
    ],
)
def test_impossible_requests_are_refused(
    classes: int, per_class: int, seed: int, fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        select_test(LABELS, classes, per_class, seed)
