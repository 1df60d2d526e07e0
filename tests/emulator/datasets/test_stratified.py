from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_emulator.datasets.stratified import stratified_rows


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=80),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32),
)
def test_every_label_gives_its_share_and_keeps_a_row(
    labels: list[int], share: float, seed: int
) -> None:
    y = np.array(labels, np.int64)
    rows = stratified_rows(y, share, seed)
    assert len(set(rows.tolist())) == len(rows)
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        taken = int((y[rows] == label).sum())
        assert taken < count
        assert abs(taken - share * count) <= 1
