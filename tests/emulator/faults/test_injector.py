"""The injector: what is due when, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_emulator.faults import FaultInjector, FaultKind, PlannedFault


class Members:
    """A fleet that only says what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ended: set[str] = set()

    def kill(self, name: str) -> bool:
        self.done.append(f"kill {name}")
        return name not in self.ended

    def start_again(self, name: str) -> None:
        self.done.append(f"start {name}")


def kill(number: int, after_s: float, name: str) -> PlannedFault:
    return PlannedFault(number, after_s, FaultKind.DEVICE_KILL, (name,), lasts_s=2.0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with start_broker("auto", tmp_path) as running:
        yield running


def test_faults_come_in_their_round_at_their_time_and_end_at_theirs(broker: RunningBroker) -> None:
    now, members = [100.0], Members()
    plan = [kill(1, 1.0, "a"), kill(1, 0.5, "b"), kill(2, 0.0, "c")]
    injector = FaultInjector(plan, members, broker, clock=lambda: now[0])
    injector.act()
    assert (members.done, injector.next_s) == ([], None)
    for second, done in (
        (100.0, []),
        (100.6, ["kill b"]),
        (101.0, ["kill a"]),
        (102.6, ["start b"]),
        (103.0, ["start a"]),
    ):
        now[0] = second
        injector.see_round(1)
        members.done.clear()
        injector.act()
        assert members.done == done
    injector.see_round(3)  # the second was over before we looked
    members.done.clear()
    injector.act()
    assert members.done == ["kill c"]
    assert injector.counts == {"device kills": 3}


def test_who_has_ended_already_is_not_counted_and_not_started(broker: RunningBroker) -> None:
    members = Members()
    members.ended.add("a")
    injector = FaultInjector([kill(1, 0.0, "a")], members, broker, clock=lambda: 0.0)
    injector.see_round(1)
    injector.act()
    assert members.done == ["kill a"]
    assert injector.counts == {}
    assert injector.next_s is None


@pytest.mark.parametrize("persists", [False, True])
def test_the_broker_is_killed_and_comes_back_on_its_port(
    broker: RunningBroker, persists: bool
) -> None:
    now = [0.0]
    fault = PlannedFault(1, 0.0, FaultKind.BROKER_KILL, ("broker",), 1.0, persists)
    injector = FaultInjector([fault], Members(), broker, clock=lambda: now[0])
    before = broker.pid
    injector.see_round(1)
    injector.act()
    assert injector.is_broker_down
    assert not broker.is_running
    now[0] = 1.0
    injector.act()
    assert not injector.is_broker_down
    assert broker.is_running
    assert broker.pid != before
    assert injector.counts == {"broker kills": 1}
