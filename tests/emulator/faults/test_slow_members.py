"""Slow devices: how much of the time they run, and that they run again in the end."""

from __future__ import annotations

import itertools
import os
import signal
import time

from pfedfrz_emulator.faults import SlowMembers


class Members:
    """Notes the signals; has no process but this one."""

    def __init__(self, gone: bool = False) -> None:
        self.gone = gone
        self.seen: list[tuple[float, signal.Signals]] = []

    def pid(self, name: str) -> int:
        return os.getpid()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        assert name == "a"
        self.seen.append((time.monotonic(), number))
        if self.gone:
            raise ProcessLookupError


def test_a_slow_member_runs_for_its_share_of_the_time_and_is_let_go() -> None:
    members = Members()
    with SlowMembers(members, ["a"], 4.0):
        time.sleep(1.0)
    assert members.seen[-1][1] is signal.SIGCONT
    stopped_s = sum(
        after - before
        for (before, number), (after, _) in itertools.pairwise(members.seen)
        if number is signal.SIGSTOP
    )
    assert 0.5 < stopped_s < 0.95, "three quarters of the time"


def test_a_member_that_is_gone_is_nobodys_fault() -> None:
    members = Members(gone=True)
    with SlowMembers(members, ["a"], 2.0):
        time.sleep(0.35)
    assert len(members.seen) >= 4


def test_without_slow_members_there_is_no_thread_and_no_process() -> None:
    with SlowMembers(Members(), [], 2.0) as none:
        assert not none._thread.is_alive()
        assert none._guard is None
