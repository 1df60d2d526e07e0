"""A fleet as processes: members that die, and the end of all of them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pfedfrz_coordinator.journal import Journal
from pfedfrz_emulator import fleet as fleet_module
from pfedfrz_emulator.brokers import RunningBroker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet import Fleet, MemberEnded
from pfedfrz_emulator.fleet_files import FleetFiles, write_fleet_files
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet
from pfedfrz_protocol import OperationError

PATIENCE_S = 120.0
DEADLINE_S = 1.5
NAMES = ("coordinator", "device-00", "device-01", "device-02")


@pytest.fixture(scope="module")
def prepared() -> PreparedFleet:
    """Three devices whose rounds take a good part of a second."""
    return prepare_fleet(
        Experiment(
            dataset="digits",
            model="mlp",
            alpha=1.0,
            devices=3,
            rounds=4,
            samples=60,
            test_per_class=5,
            deadline_s=DEADLINE_S,
        )
    )


@pytest.fixture
def files(
    prepared: PreparedFleet, broker: RunningBroker, tmp_path: Path, request: pytest.FixtureRequest
) -> FleetFiles:
    return write_fleet_files(prepared, tmp_path, f"fleet-{abs(hash(tmp_path))}", broker.url)


@pytest.fixture
def members(prepared: PreparedFleet, files: FleetFiles) -> Iterator[Fleet]:
    """The fleet, started."""
    with Fleet(prepared, files) as members:
        members.start()
        yield members


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def first_model(files: FleetFiles) -> Callable[[], bool]:
    path = files.directory / "coordinator" / "models" / "model-000000001.safetensors"
    return path.exists


def test_a_round_goes_on_after_its_deadline_without_a_device_that_was_killed(
    members: Fleet, files: FleetFiles
) -> None:
    wait_until(first_model(files), "the first round has closed")
    os.kill(members.pid("device-01"), signal.SIGKILL)
    lost: list[MemberEnded] = []

    def is_over() -> bool:
        lost.extend(members.newly_lost())
        return members.is_over()

    wait_until(is_over, "the run is over")
    assert lost == [MemberEnded("device-01", -signal.SIGKILL)]
    assert lost[0].describe() == "device-01 was killed by signal 9"
    journal = Journal(files.journal, read_only=True)
    rows = {row.number: row for row in journal.rounds()}
    notes = journal.notes()
    journal.close()
    assert sorted(rows) == [1, 2, 3, 4, 5]
    short = [r.metrics for r in rows.values() if r.metrics and r.metrics.missing]
    assert short, "no round missed the device"
    # The engine's clock starts a moment before the journal's.
    assert all(metrics.duration_s > 0.9 * DEADLINE_S for metrics in short)
    assert all(r.metrics and r.metrics.accepted == 2 for n, r in rows.items() if n in (3, 4))
    assert any("deadline passed without device-01" in note for note in notes)


def test_without_a_coordinator_there_is_no_run(members: Fleet, files: FleetFiles) -> None:
    wait_until(first_model(files), "the first round has closed")
    os.kill(members.pid("coordinator"), signal.SIGKILL)
    with pytest.raises(OperationError, match="coordinator was killed by signal 9") as failure:
        wait_until(members.is_over, "the loss is seen")
    assert str(files.log("coordinator")) in str(failure.value)
    assert members.newly_lost() == []


def test_without_any_device_there_is_no_run_and_one_of_them_says_why(
    prepared: PreparedFleet, files: FleetFiles
) -> None:
    shutil.rmtree(files.directory / "data")
    with Fleet(prepared, files) as members:
        members.start()
        with pytest.raises(OperationError) as failure:
            wait_until(members.is_over, "the loss is seen")
    said = str(failure.value)
    assert said.startswith("no device is left: device-00 ended with code 1: error: ")
    assert "test.npz" in said
    assert "\n" not in said


def test_leaving_ends_everybody_even_one_that_does_not_listen(
    prepared: PreparedFleet, files: FleetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "_GOODBYE_S", 1.0)
    with Fleet(prepared, files) as members:
        members.start()
        wait_until(first_model(files), "the first round has closed")
        processes = [psutil.Process(members.pid(name)) for name in NAMES]
        os.kill(members.pid("device-02"), signal.SIGSTOP)
    assert [process.is_running() for process in processes] == [False] * 4


def test_leaving_before_anybody_has_started_is_fine(
    prepared: PreparedFleet, files: FleetFiles
) -> None:
    with Fleet(prepared, files):
        pass
    assert not files.journal.exists()


def test_members_that_were_killed_on_purpose_are_started_again_and_not_lost(
    members: Fleet, files: FleetFiles
) -> None:
    wait_until(first_model(files), "the first round has closed")
    for name in ("coordinator", "device-01"):
        before = members.pid(name)
        assert members.kill(name)
        assert not members.is_over()
        assert not members.kill(name), "killed already"
        members.start_again(name)
        assert members.pid(name) != before
    wait_until(members.is_over, "the run is over")
    assert members.newly_lost() == []
    journal = Journal(files.journal, read_only=True)
    assert [row.closed_at is not None for row in journal.rounds()] == [True] * 5
    journal.close()


def test_a_member_that_ended_by_itself_cannot_be_killed_and_is_lost(
    members: Fleet, files: FleetFiles
) -> None:
    wait_until(first_model(files), "the first round has closed")
    os.kill(members.pid("device-01"), signal.SIGTERM)
    os.kill(members.pid("device-02"), signal.SIGKILL)
    wait_until(lambda: bool(members.newly_lost()), "the loss is seen")
    assert not members.kill("device-02")
