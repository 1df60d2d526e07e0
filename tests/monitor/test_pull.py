"""Who keeps pulling against the others, and who only happens to."""

from __future__ import annotations

import pytest
from federation_messages import Speaker

from pfedfrz_monitor import Kind
from pfedfrz_monitor.pull import keeps_pulling_against

# Of `scripts/demo`, seed 0: ten devices, alpha 0.1, two of them with a flipped sign.
ATTACKERS = [
    (-0.17, -0.19, -0.06, -0.06, -0.19, 0.04, -0.01, -0.18, -0.20, -0.04),
    (-0.10, -0.18, -0.14, -0.13, -0.16, -0.06, -0.11, -0.28, -0.18, -0.11),
]
HONEST = [
    (0.18, -0.05, 0.14, 0.07, 0.08, 0.03, 0.04, 0.02, 0.09, 0.02),
    (0.02, -0.02, 0.04, -0.04, -0.05, -0.07, 0.04, -0.13, -0.20, -0.01),
    (-0.15, 0.06, 0.04, -0.07, 0.02, -0.12, -0.05, -0.15, 0.12, 0.05),
    (-0.16, -0.03, -0.05, -0.04, -0.01, -0.02, 0.01, -0.03, -0.17, -0.08),
]


@pytest.mark.parametrize("cosines", ATTACKERS)
def test_an_attacker_is_named_also_where_data_differ(cosines: tuple[float, ...]) -> None:
    assert keeps_pulling_against(cosines)


@pytest.mark.parametrize("cosines", HONEST)
def test_who_is_on_both_sides_of_zero_is_not(cosines: tuple[float, ...]) -> None:
    assert not keeps_pulling_against(cosines)


def test_four_updates_are_too_few_and_old_ones_do_not_count() -> None:
    assert not keeps_pulling_against([-0.9] * 4)
    assert keeps_pulling_against([-0.9] * 5)
    assert not keeps_pulling_against([-0.9] * 50 + [0.5, 0.4, 0.5, 0.6, 0.5] * 2)


def test_who_is_named_stays_so_until_the_mean_is_back() -> None:
    swaying = [-0.3, 0.1, -0.3, 0.1, -0.3, 0.1]
    assert not keeps_pulling_against(swaying)
    assert keeps_pulling_against(swaying, already=True)
    assert not keeps_pulling_against([0.1, -0.2, 0.1, -0.1, 0.1], already=True)


def test_it_is_said_once_and_again_after_it_had_ended() -> None:
    lab = Speaker()
    for number in range(1, 40):
        lab.announce(number, "a", "b")
        turn = -1 if number <= 10 or number > 25 else 1
        cosines = {"a": 0.4, "b": 0.4 * turn}
        lab.close(number, 2, 2, norms={"a": 1.0, "b": 1.0}, cosines=cosines)
    said = [(e.device, e.round) for e in lab.view.log.since(0) if e.kind is Kind.OPPOSES]
    assert said == [("b", 5), ("b", 34)]
    assert lab.view.devices["b"].opposes
    assert not lab.view.devices["a"].opposes
