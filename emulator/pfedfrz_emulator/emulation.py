"""`pfedfrz emulate` from beginning to end: broker, processes, rounds, report."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pfedfrz_coordinator.journal import Journal
from pfedfrz_protocol import ConfigurationError, OperationError, Topics, check_name
from pfedfrz_transport import BrokerAddress, Link, LinkLimits, Message, MqttLink, MqttOptions

from .brokers import RunningBroker, start_broker
from .experiment import Experiment
from .fleet import Fleet
from .fleet_files import FleetFiles, write_fleet_files
from .live_table import LiveTable
from .observer import FederationView
from .preparation import PreparedFleet, prepare_fleet
from .report import ReportFiles, RunRecord, write_report
from .run_record import RunCircumstances, make_run_record

__all__ = ["EmulationResult", "emulate", "new_run_directory"]

_CONNECT_S = 10.0
_LOOK_S = 0.25


@dataclass(frozen=True)
class EmulationResult:
    """What a run left behind."""

    record: RunRecord
    files: ReportFiles


def new_run_directory(out: Path | None, experiment: Experiment) -> Path:
    """The directory of a new run, made; ConfigurationError when `out` holds something already."""
    if out is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{stamp}-{experiment.method}-{experiment.dataset.partition(':')[0]}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigurationError(
                f"{out} is not empty; choose another --out, so that no run is written over"
            )
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be used: {error.strerror}") from error
    return out


def emulate(
    experiment: Experiment,
    *,
    out: Path,
    broker: str = "auto",
    federation: str | None = None,
    command: str = "",
    console: Console | None = None,
) -> EmulationResult:
    """Run a whole fleet on this machine and write its report into `out`, an empty directory.

    Whatever happens, no process is left running; without a finished run there is no report, but
    the state of every member stays in `out`. Raises ConfigurationError before anything is
    started, OperationError when the run fails.
    """
    console = console or Console(stderr=True)
    # A name of its own: on a broker that others use too, an earlier run's retained state is not
    # taken for this one's.
    federation = check_name("federation", federation or f"emulation-{secrets.token_hex(4)}")
    started, started_at = (
        time.monotonic(),
        datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    with start_broker(broker, out / "broker") as running:
        with console.status("loading the data and exporting the model"):
            fleet = prepare_fleet(experiment)
        files = write_fleet_files(fleet, out, federation, running.url)
        _introduce(console, fleet, running)
        notes = _run(fleet, files, running, console)
    circumstances = RunCircumstances(
        running.name, command, started_at, time.monotonic() - started, tuple(notes)
    )
    journal = Journal(files.journal, read_only=True)
    try:
        record = make_run_record(fleet, journal, circumstances)
    finally:
        journal.close()
    return EmulationResult(record, write_report(record, out))


def _introduce(console: Console, fleet: PreparedFleet, broker: RunningBroker) -> None:
    experiment = fleet.experiment
    attackers = ", ".join(sorted({d.name for d in fleet.devices} - fleet.benign))
    console.print(
        f"{experiment.method} with {experiment.model} on {fleet.dataset} "
        f"({experiment.split().name}), {experiment.devices} devices over {broker.name}",
        highlight=False,
        markup=False,
    )
    if attackers:
        console.print(f"attackers ({experiment.attack}): {attackers}", style="red", highlight=False)
    for note in fleet.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)


def _run(
    fleet: PreparedFleet, files: FleetFiles, broker: RunningBroker, console: Console
) -> list[str]:
    """Run all rounds; what should be noted about them."""
    notes: list[str] = []
    view = FederationView(Topics(files.federation))
    link = MqttLink(
        BrokerAddress.parse(broker.url),
        f"{files.federation}.emulator",
        options=MqttOptions(receive_maximum=1024, limits=LinkLimits(inbox_messages=20_000)),
    )
    for topic_filter in view.filters:
        link.subscribe(topic_filter)
    link.start()
    try:
        link.wait_until_up(_CONNECT_S)
        with (
            Fleet(fleet, files) as members,
            LiveTable(view, fleet.benign, fleet.experiment.rounds, console) as table,
        ):
            members.start()
            while not members.is_over():
                _watch(link, view)
                table.refresh()
                for ended in members.newly_ended():
                    if ended.code:
                        notes.append(ended.describe())
                        table.note(f"note: {ended.describe()}; the run goes on without it")
                if broker.pid is not None and not broker.is_running:
                    raise OperationError(f"the broker has ended; see {files.directory / 'broker'}")
            _watch(link, view)
            table.refresh()
    finally:
        link.close()
    return notes


def _watch(link: Link, view: FederationView) -> None:
    """Take what comes for a moment."""
    until = time.monotonic() + _LOOK_S
    while (left := until - time.monotonic()) > 0:
        event = link.poll(left)
        if isinstance(event, Message):
            view.see(event.topic, event.payload)
