"""One worker at a time, whatever is asked for while it runs."""

from types import SimpleNamespace
from typing import cast

import pytest

from pfedfrz_edge import work_runner
from pfedfrz_edge.session_exchange import StartWork
from pfedfrz_edge.work_runner import WorkRunner
from pfedfrz_edge.worker import WorkerContext

FIRST, SECOND = (cast(StartWork, name) for name in ("first", "second"))


class Recorded:
    """A worker that runs until the test says that it has ended."""

    said: list[str]

    def __init__(self, _: object, work: object, __: object) -> None:
        self._work = work

    def start(self) -> None:
        self.said.append(f"start {self._work}")

    def cancel(self) -> None:
        self.said.append(f"cancel {self._work}")

    def pause(self) -> None:
        self.said.append(f"pause {self._work}")

    def resume(self) -> None:
        self.said.append(f"resume {self._work}")

    def join(self, timeout_s: float) -> None:
        self.said.append(f"join {self._work}")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Recorded.said = []
    monkeypatch.setattr(work_runner, "Worker", Recorded)
    return Recorded.said


def runner() -> WorkRunner:
    return WorkRunner(cast(WorkerContext, SimpleNamespace()))


def test_the_next_work_begins_when_the_one_called_off_has_ended(said: list[str]) -> None:
    mine = runner()
    mine.start(FIRST)
    mine.cancel()
    mine.start(SECOND)
    assert said == ["start first", "cancel first"]
    mine.ended()
    assert said[2:] == ["start second"]
    mine.ended()
    assert said[3:] == []
    assert not mine.is_busy


def test_work_that_waits_is_called_off_too(said: list[str]) -> None:
    mine = runner()
    mine.start(FIRST)
    mine.start(SECOND)
    mine.cancel()
    mine.ended()
    assert said == ["start first", "cancel first"]


def test_work_that_waits_begins_paused_where_that_was_said_meanwhile(said: list[str]) -> None:
    mine = runner()
    mine.start(FIRST)
    mine.start(SECOND)
    mine.pause()
    mine.ended()
    mine.resume()
    assert said == ["start first", "pause first", "pause second", "start second", "resume second"]


def test_to_close_calls_off_and_waits(said: list[str]) -> None:
    mine = runner()
    mine.close()
    assert said == []
    mine.start(FIRST)
    mine.close()
    assert said == ["start first", "cancel first", "join first"]
