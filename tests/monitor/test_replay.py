"""A run that is played again."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from written_journals import BEGAN, DEVICES, WrittenRun, at

from pfedfrz_coordinator.registry import Registry
from pfedfrz_monitor import FederationView, Outcome, Stage, Standing
from pfedfrz_monitor.replay import ReplayWatch, open_replay
from pfedfrz_monitor.runs import DescribedDevice, RunDescription, find_place, read_record
from pfedfrz_protocol import ConfigurationError, DesiredState, Pause, Purpose


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock) -> ReplayWatch:
    return ReplayWatch(find_place(WrittenRun(tmp_path / "state").write()), clock=clock)


def shown(watch: ReplayWatch) -> FederationView:
    watch.play_due()
    with watch.reading() as view:
        return view


def test_the_end_is_what_a_watcher_would_have_seen(watch: ReplayWatch) -> None:
    watch.seek(watch.length_s)
    view = shown(watch)
    assert watch.is_over
    assert view.is_over
    assert view.topics.federation == "lab"
    assert list(view.rounds) == [1, 2, 3, 4]
    assert all(there.is_closed for there in view.rounds.values())
    assert view.rounds[4].purpose is Purpose.EVALUATE
    cells = view.rounds[2].cells
    assert {name: cell.outcome for name, cell in cells.items()} == {
        "ada": Outcome.ACCEPTED,
        "bob": Outcome.ACCEPTED,
        "cyd": Outcome.REJECTED,
    }
    assert cells["cyd"].detail == "not-finite: a NaN in head"
    assert (cells["bob"].norm, cells["bob"].cosine) == (2.0, -0.25)
    assert view.devices["ada"].updates_accepted == 3
    assert view.devices["ada"].train_s == pytest.approx(6.0)
    metrics = view.rounds[1].metrics
    assert metrics is not None
    assert metrics.accepted == 3


def test_things_come_at_their_times(watch: ReplayWatch, clock: Clock) -> None:
    view = shown(watch)
    assert view.open_round is not None
    assert view.open_round.number == 1
    assert {device.stage for device in view.devices.values()} == {Stage.SELECTED}
    assert view.open_round.opened_at == pytest.approx(BEGAN)
    clock.seconds = 6.0  # the quickest has worked 2.5 s, the slowest 4.5 s, which is shown at 9 s
    assert {n: d.stage for n, d in shown(watch).devices.items()} == {
        "ada": Stage.ACCEPTED,
        "bob": Stage.SELECTED,
        "cyd": Stage.SELECTED,
    }
    clock.seconds = 9.5
    assert {d.stage for d in shown(watch).devices.values()} == {Stage.ACCEPTED}
    assert view.open_round.number == 1
    clock.seconds = 10.0
    assert view is shown(watch)
    assert view.rounds[1].closed_at == pytest.approx(BEGAN + 10.0)
    assert view.open_round.number == 2
    clock.seconds = 16.9
    assert "cyd" not in shown(watch).rounds[2].cells
    clock.seconds = 17.0
    assert shown(watch).rounds[2].cells["cyd"].outcome is Outcome.REJECTED


def test_it_can_be_quicker_stand_still_and_go_on(watch: ReplayWatch, clock: Clock) -> None:
    watch.set_speed(10.0)
    clock.seconds = 1.1
    shown(watch)
    assert watch.position_s == pytest.approx(11.0)
    watch.pause()
    clock.seconds = 100.0
    assert len(shown(watch).rounds) == 2
    assert watch.position_s == pytest.approx(11.0)
    assert watch.is_paused
    watch.resume()
    clock.seconds = 101.0
    assert len(shown(watch).rounds) == 3
    assert watch.position_s == pytest.approx(21.0)
    clock.seconds = 1000.0
    shown(watch)
    assert watch.position_s == watch.length_s


def test_going_back_begins_anew_and_revisions_go_on(watch: ReplayWatch) -> None:
    watch.seek(25.0)
    late = shown(watch)
    assert max(late.rounds) == 3
    watch.pause()
    watch.seek(12.0)
    early = shown(watch)
    assert (max(early.rounds), watch.generation) == (2, 1)
    assert early.revision > late.revision
    assert early.clock() == pytest.approx(BEGAN + 12.0)
    watch.seek(1e9)
    assert max(shown(watch).rounds) == 4
    assert watch.generation == 1


def test_a_run_that_stands_still_is_not_said_to_be_over(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write(closed=1, evaluated=False, opened=True)
    watch = open_replay(state)
    watch.seek(1e9)
    view = shown(watch)
    assert view.desired is DesiredState.RUN
    assert view.open_round is not None
    assert view.open_round.number == 2
    watch.close()


def test_who_was_kept_out_is_so_from_then_on(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write()
    registry = Registry(state)
    for number, name in enumerate(DEVICES):
        registry.enrol(name, f"{number}" * 64)
    with at(18.0):
        registry.quarantine("cyd", "3 failures")
    registry.close()
    watch = open_replay(state)
    watch.pause()
    for position_s, standing in ((17.5, Standing.ENROLLED), (18.5, Standing.QUARANTINED)):
        watch.seek(position_s)
        assert shown(watch).devices["cyd"].standing is standing
    assert shown(watch).devices["cyd"].refusal == "3 failures"
    watch.close()


def test_of_an_emulated_run_attackers_and_labels_are_known(tmp_path: Path) -> None:
    WrittenRun(tmp_path / "coordinator").write()
    settings = read_record(find_place(tmp_path)).settings
    devices = tuple(DescribedDevice(n, n == "bob", 40, (0.25, 0.75)) for n in DEVICES)
    RunDescription(settings, devices, {}).save(tmp_path)
    watch = open_replay(tmp_path)
    assert watch.labels == {"bob": "attacker"}
    assert shown(watch).devices["ada"].label_counts == (10, 30)
    watch.close()


def test_the_thread_plays_it_to_the_end(tmp_path: Path) -> None:
    watch = open_replay(WrittenRun(tmp_path / "state").write(), speed=1000.0)
    assert watch.health.connected
    assert not watch.may_act
    watch.start()
    deadline = time.monotonic() + 20
    while not watch.is_over and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert watch.is_over
    with watch.reading() as view:
        assert view.is_over
    watch.close()
    with pytest.raises(ConfigurationError, match="nothing can be changed"):
        watch.ask(Pause())


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_one_line(tmp_path: Path, speed: float) -> None:
    state = WrittenRun(tmp_path / "state").write()
    with pytest.raises(ConfigurationError, match=r"^speed .*: want 0.01 to 1e\+06$"):
        open_replay(state, speed)


def test_a_run_without_a_round_cannot_be_played(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write(closed=0, evaluated=False)
    with pytest.raises(ConfigurationError, match="nothing to replay"):
        open_replay(state)
