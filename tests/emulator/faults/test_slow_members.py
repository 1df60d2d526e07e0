"""Slow devices: how much of the time they run, and that they run again in the end."""

from __future__ import annotations

import itertools
import signal
import time

from pfedfrz_emulator.faults import SlowMembers


def test_a_slow_member_runs_for_its_share_of_the_time_and_is_let_go() -> None:
    seen: list[tuple[float, signal.Signals]] = []

    def send(name: str, number: signal.Signals) -> None:
        assert name == "a"
        seen.append((time.monotonic(), number))

    with SlowMembers(send, ["a"], 4.0):
        time.sleep(1.0)
    assert seen[-1][1] is signal.SIGCONT
    stopped_s = sum(
        after - before
        for (before, number), (after, _) in itertools.pairwise(seen)
        if number is signal.SIGSTOP
    )
    assert 0.5 < stopped_s < 0.95, "three quarters of the time"


def test_a_member_that_is_gone_is_nobodys_fault() -> None:
    def send(name: str, number: signal.Signals) -> None:
        raise ProcessLookupError

    with SlowMembers(send, ["a"], 2.0):
        time.sleep(0.2)


def test_without_slow_members_there_is_no_thread() -> None:
    with SlowMembers(lambda *_: None, [], 2.0) as none:
        assert not none._thread.is_alive()
