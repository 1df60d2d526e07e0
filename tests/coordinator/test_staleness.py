"""Late updates, and what they do to a model."""

import numpy as np
import pytest

from pfedfrz_coordinator.staleness import Staleness, staleness_weight
from pfedfrz_protocol import ProtocolError, RejectReason


def test_an_update_that_is_not_late_counts_in_full_and_a_late_one_less() -> None:
    assert staleness_weight(0, 0.5) == 1.0
    assert staleness_weight(3, 0.5) == 0.5
    assert staleness_weight(3, 0.0) == 1.0
    weights = [staleness_weight(t, 0.5) for t in range(20)]
    assert weights == sorted(weights, reverse=True)


def test_the_mean_of_rebased_updates_is_fedbuff() -> None:
    """Nguyen et al. 2022, algorithm 1 with a server learning rate of 1, written out."""
    draw = np.random.default_rng(0)
    models = draw.normal(size=(4, 50)).astype(np.float32)
    steps = draw.normal(size=(3, 50)).astype(np.float32)
    made_in = [0, 2, 3]
    expected = models[3].astype(float)
    rebased = []
    for step, version in zip(steps, made_in, strict=True):
        late = 3 - version
        expected += step * (1 + late) ** -0.5 / len(steps)
        staleness = Staleness(late, staleness_weight(late, 0.5), models[3])
        rebased.append(staleness.rebase(models[version] + step, models[version]))
        halves = staleness.rebase(step.astype(np.float16), models[version])
        np.testing.assert_allclose(halves, rebased[-1], atol=2e-3)
    np.testing.assert_allclose(np.mean(rebased, axis=0), expected, atol=1e-6)


def test_what_gets_too_large_on_the_way_is_refused() -> None:
    huge = np.full(3, 3e38, np.float32)
    with pytest.raises(ProtocolError) as caught, np.errstate(over="ignore"):
        Staleness(1, 1.0, huge).rebase(huge, np.zeros(3, np.float32))
    assert caught.value.reason is RejectReason.NOT_FINITE
