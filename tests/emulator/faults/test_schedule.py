"""The plan of a run's faults: repeatable, and as many as the profile says."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_emulator.faults import (
    Calm,
    FaultKind,
    Harsh,
    choose_victims,
    plan_faults,
)

DEVICES = tuple(f"device-{number:02d}" for number in range(10))


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    plan = plan_faults(Harsh(), DEVICES, 10, 7)
    assert plan == plan_faults(Harsh(), DEVICES, 10, 7)
    assert plan != plan_faults(Harsh(), DEVICES, 10, 8)
    assert choose_victims(Harsh(), DEVICES, 7) == choose_victims(Harsh(), DEVICES, 7)


@given(
    seed=st.integers(0, 2**63 - 1),
    kills=st.integers(0, 3),
    others=st.integers(0, 5),
    rounds=st.integers(1, 12),
)
def test_there_are_as_many_faults_as_asked_for(
    seed: int, kills: int, others: int, rounds: int
) -> None:
    profile = Harsh(kills=kills, coordinator_kills=others, broker_kills=others, partitions=others)
    plan = plan_faults(profile, DEVICES, rounds, seed)
    kinds = Counter(fault.kind for fault in plan)
    assert kinds[FaultKind.DEVICE_KILL] == kills * rounds
    for kind in set(FaultKind) - {FaultKind.DEVICE_KILL}:
        assert kinds[kind] == others
    assert [fault.round for fault in plan] == sorted(fault.round for fault in plan)
    assert all(1 <= fault.round <= rounds for fault in plan)
    assert all(0 <= f.lasts_s <= max(profile.down_s, profile.partition_s) for f in plan)


def test_every_round_suffers_and_nobody_is_killed_twice_in_one() -> None:
    plan = plan_faults(Harsh(), DEVICES, 10, 0)
    for number in range(1, 11):
        victims = [
            fault.victims
            for fault in plan
            if fault.round == number and fault.kind is FaultKind.DEVICE_KILL
        ]
        assert len(victims) == len(set(victims)) == 2


def test_the_broker_comes_back_with_and_without_a_database() -> None:
    plan = plan_faults(Harsh(), DEVICES, 10, 0)
    assert {f.persists for f in plan if f.kind is FaultKind.BROKER_KILL} == {True, False}


def test_a_partition_cuts_off_half_of_all_members() -> None:
    (partition,) = (f for f in plan_faults(Harsh(), DEVICES, 10, 0) if f.lasts_s == 4.0)
    assert partition.kind is FaultKind.PARTITION
    assert len(partition.victims) == 6
    assert set(partition.victims) <= {"coordinator", *DEVICES}


def test_calm_plans_nothing() -> None:
    assert plan_faults(Calm(), DEVICES, 10, 0) == ()
    victims = choose_victims(Calm(), DEVICES, 0)
    assert (victims.bad_links, victims.slow) == ((), ())
