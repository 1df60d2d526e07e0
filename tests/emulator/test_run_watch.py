"""Watching a run: what is told while it lasts, and when it is given up."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from federation_messages import Speaker
from rich.console import Console

from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet import Fleet
from pfedfrz_emulator.fleet_files import write_fleet_files
from pfedfrz_emulator.live_table import LiveTable
from pfedfrz_emulator.preparation import prepare_fleet
from pfedfrz_emulator.run_watch import RunWatch
from pfedfrz_monitor import FederationView, Kind
from pfedfrz_protocol import Hyperparameters, OperationError, Topics
from pfedfrz_transport import MqttLink


@contextmanager
def watched(
    directory: Path, broker: RunningBroker, training: Hyperparameters, deadline_s: float
) -> Iterator[tuple[RunWatch, io.StringIO]]:
    """A fleet of two under way, and what its watch prints."""
    fleet = prepare_fleet(
        Experiment(
            dataset="digits",
            model="mlp",
            devices=2,
            rounds=1000,
            samples=60,
            test_per_class=5,
            deadline_s=deadline_s,
            training=training,
        )
    )
    federation = directory.name
    files = write_fleet_files(fleet, directory, federation, broker.url)
    view = FederationView(Topics(federation))
    out = io.StringIO()
    table = LiveTable(view, fleet.benign, 1000, Console(file=out))
    link = MqttLink(broker.address, f"{federation}.watch")
    for topic_filter in view.filters:
        link.subscribe(topic_filter)
    link.start()
    with ExitStack() as stack:
        stack.callback(link.close)
        link.wait_until_up(10)
        members = stack.enter_context(Fleet(fleet, files))
        members.start()
        yield RunWatch(link, view, members, table, broker), out


def test_training_that_diverges_is_told_and_given_up(broker: RunningBroker, tmp_path: Path) -> None:
    # Weight decay alone multiplies every weight by -1e10 in each step.
    wild = Hyperparameters(learning_rate=1e5, weight_decay=1e5, epochs=5)
    with watched(tmp_path, broker, wild, deadline_s=4.0) as (watch, out):
        with pytest.raises(OperationError, match=r"round \d+ cannot be done: device-.*diverged"):
            watch.until_over()
        lines = out.getvalue().splitlines()
    faults = [line for line in lines if "diverged; lower the learning rate" in line]
    failures = [e for e in watch.view.log.since(0) if e.kind is Kind.FAILED]
    assert len(faults) == len(failures) >= 2
    assert faults[0].startswith("note: round ")


def test_a_deadline_that_nobody_can_meet_is_told_and_given_up(
    broker: RunningBroker, tmp_path: Path
) -> None:
    endless = Hyperparameters(epochs=1_000_000)
    with watched(tmp_path, broker, endless, deadline_s=0.4) as (watch, out):
        with pytest.raises(OperationError, match="opened 5 times and never had enough updates"):
            watch.until_over()
        lines = out.getvalue().splitlines()
    again = "note: round 1 is opened again: too few updates came"
    assert 1 <= lines.count(again) <= 5


def test_a_broker_that_dies_ends_the_run(tmp_path: Path) -> None:
    quick = Hyperparameters()
    with (
        start_broker("auto", tmp_path / "broker") as own,
        watched(tmp_path, own, quick, deadline_s=30.0) as (watch, _),
    ):
        death = threading.Timer(1.0, own.kill)
        death.start()
        with pytest.raises(OperationError, match="the broker has ended in mid-run; see ") as end:
            watch.until_over()
        death.join()
    assert str(own.log_path) in str(end.value)


def test_a_coordinator_that_waits_for_ever_is_given_up(broker: RunningBroker) -> None:
    speaker = Speaker()
    watch = RunWatch(None, speaker.view, None, None, broker)  # type: ignore[arg-type]
    watch._give_up_if_nothing_opens()
    speaker.announce(1, "a", "b")
    watch._give_up_if_nothing_opens()
    watch._moved_s -= 89
    watch._give_up_if_nothing_opens()
    watch._moved_s -= 2
    with pytest.raises(OperationError, match="no round was opened for 90 s after round 1"):
        watch._give_up_if_nothing_opens()
    speaker.announce(1, "a", "b", epoch=2)
    watch._give_up_if_nothing_opens()
