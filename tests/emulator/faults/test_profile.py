"""Fault profiles: what they are called, what they refuse."""

from __future__ import annotations

import pytest

from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.faults import Calm, Flaky, Harsh, find_faults
from pfedfrz_protocol import ConfigurationError


def test_profiles_are_found_by_name_and_take_settings() -> None:
    assert find_faults("calm") == Calm()
    assert find_faults("flaky:kills=3,kbit_s=64.5") == Flaky(kills=3, kbit_s=64.5)
    assert find_faults("harsh:broker_kills=0").broker_kills == 0


def test_calm_is_calm_and_the_others_are_not() -> None:
    assert find_faults("calm").is_calm
    assert not find_faults("flaky").is_calm
    assert not find_faults("harsh").is_calm
    assert not find_faults("calm:slow_devices=1").is_calm


def test_harsh_spares_nobody() -> None:
    harsh = Harsh()
    assert harsh.kills >= 2
    assert min(harsh.coordinator_kills, harsh.broker_kills, harsh.partitions) >= 1
    assert min(harsh.bad_links, harsh.slow_devices) >= 1
    link = harsh.bad_link
    assert (link.bytes_s, link.latency_s) == (32_000, 0.2)
    assert link.cut_every_s > 0 < link.loss


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("hars", "unknown fault profile 'hars'"),
        ("harsh:kill=1", "unknown key 'kill'"),
        ("harsh:kills=-1", "kills = -1; want 0 or more"),
        ("harsh:loss=0.6", "loss = 0.6; want 0 to 0.5"),
        ("harsh:kbit_s=1", "kbit_s = 1; want 8 or more"),
        ("harsh:latency_ms=1e9", "latency_ms = 1e+09"),
        ("harsh:slowdown=0.5", "slowdown = 0.5; want 1 to 100"),
        ("harsh:down_s=-1", "down_s = -1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(choice: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        find_faults(choice)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_experiment_checks_its_faults_against_its_fleet() -> None:
    with pytest.raises(ConfigurationError, match="kills = 2, and the fleet has 1 devices"):
        Experiment(devices=1, faults="harsh")
    assert Experiment(devices=2, faults="harsh").resolve_faults() == Harsh()
