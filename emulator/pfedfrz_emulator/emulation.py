"""`pfedfrz emulate` from beginning to end: broker, processes, rounds, report."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pfedfrz_coordinator.journal import Journal
from pfedfrz_monitor import FederationView
from pfedfrz_monitor.report import ReportFiles, RunRecord, write_report
from pfedfrz_protocol import Topics, check_name
from pfedfrz_storage import remove_leftovers
from pfedfrz_transport import LinkLimits, MqttLink, MqttOptions

from .brokers import RunningBroker, start_broker
from .command_line import command_line
from .experiment import Experiment
from .fault_setting import FaultSetting, check_broker
from .fleet import Fleet
from .fleet_files import FleetFiles, write_fleet_files
from .live_table import LiveTable, say
from .preparation import PreparedFleet, prepare_fleet
from .retained_state import clear_retained_state
from .run_directory import RunDirectory
from .run_page import OPERATOR, RunPage, make_operator_key
from .run_record import RunCircumstances, describe_run, make_run_record
from .run_watch import RunWatch

__all__ = ["EmulationResult", "emulate"]

_CONNECT_S = 10.0
_PREPARING = "loading the data and exporting the model"


@dataclass(frozen=True)
class EmulationResult:
    """What a run left behind."""

    record: RunRecord
    files: ReportFiles


def emulate(
    experiment: Experiment,
    *,
    out: Path | None = None,
    broker: str = "auto",
    federation: str | None = None,
    console: Console | None = None,
    page: str | None = None,
    when_done: Callable[[EmulationResult], None] = lambda result: None,
) -> EmulationResult:
    """Run a whole fleet on this machine and write its report into `out`, an empty directory.

    With `page`, which is HOST:PORT or nothing for a usual one, the run can be watched in a browser;
    `when_done` is called with the result while broker and page are still there.

    Without `out` it is a new directory below `runs`. Whatever happens, no process is left running
    and no half-written file; without a finished run there is no report, but the state and the logs
    of every member stay. Raises ConfigurationError, with `out` as it was found, for what cannot be
    run; OperationError when the run fails.
    """
    console = console or Console(stderr=True)
    check_broker(experiment, broker)
    # A name of its own: on a broker that others use too, an earlier run's retained state is not
    # taken for this one's.
    federation = check_name("federation", federation or f"emulation-{secrets.token_hex(4)}")
    began_s = time.monotonic()
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    name = f"{experiment.method}-{experiment.dataset.partition(':')[0]}"
    with (
        RunDirectory(out, name) as directory,
        start_broker(broker, directory.path / "broker") as running,
        ExitStack() as stack,
    ):
        with console.status(_PREPARING) as status:

            def tell(file: str, done: int, whole: int) -> None:
                status.update(f"fetching {file}, {done / 1e6:.1f} of {whole / 1e6:.1f} MB")
                if done == whole:
                    status.update(_PREPARING)

            fleet = prepare_fleet(experiment, progress=tell)
        directory.keep()
        try:
            _introduce(console, fleet, running)
            with FaultSetting(fleet, running) as setting:
                operators = {} if page is None else {OPERATOR: make_operator_key(directory.path)}
                files = write_fleet_files(
                    fleet, directory.path, federation, running.url, setting.urls, operators
                )
                begun = RunCircumstances(running.name, command_line(experiment, broker), started_at)
                describe_run(fleet, begun).save(directory.path)
                if page is not None:
                    served = stack.enter_context(_page(fleet, files, running, page))
                    say(console, f"watch it in a browser: {served.url}", "bold")
                notes, faults = _run(fleet, files, running, console, setting)
        finally:
            _remove_leftovers(directory.path)
        circumstances = replace(
            begun, wall_s=time.monotonic() - began_s, notes=notes, faults=faults
        )
        describe_run(fleet, circumstances).save(directory.path)
        with console.status("writing the report"):
            try:
                record = _read_record(fleet, files, circumstances)
                result = EmulationResult(record, write_report(record, directory.path))
            finally:
                _remove_leftovers(directory.path)
        when_done(result)
        return result


def _page(fleet: PreparedFleet, files: FleetFiles, broker: RunningBroker, listen: str) -> RunPage:
    labels = {device.name: "attacker" for device in fleet.devices if device.attacker}
    return RunPage(files, broker.url, labels, listen or None)


def _introduce(console: Console, fleet: PreparedFleet, broker: RunningBroker) -> None:
    experiment = fleet.experiment
    say(
        console,
        f"{experiment.method} with {experiment.model} on {fleet.dataset} "
        f"({experiment.resolve_split().name}), {experiment.devices} devices over {broker.name}",
    )
    attackers = ", ".join(d.name for d in fleet.devices if d.attacker)
    if attackers:
        say(console, f"attackers ({experiment.attack}): {attackers}", "red")
    faults = experiment.resolve_faults()
    if not faults.is_calm:
        say(console, f"faults: {experiment.faults}", "red")
    for note in fleet.notes:
        say(console, f"note: {note}", "yellow")


def _run(
    fleet: PreparedFleet,
    files: FleetFiles,
    broker: RunningBroker,
    console: Console,
    setting: FaultSetting,
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Run all rounds; what should be noted about them, and the faults that there were."""
    view = FederationView(Topics(files.federation))
    link = MqttLink(
        broker.address,
        f"{files.federation}.emulator",
        options=MqttOptions(receive_maximum=1024, limits=LinkLimits(inbox_messages=20_000)),
    )
    for topic_filter in view.filters:
        link.subscribe(topic_filter)
    link.start()
    try:
        link.wait_until_up(_CONNECT_S)
        try:
            with (
                Fleet(fleet, files) as members,
                LiveTable(view, fleet.benign, fleet.experiment.rounds, console) as table,
            ):
                members.start()
                injector = setting.injector(members)
                watch = RunWatch(link, view, members, table, broker, injector)
                with setting.slow_members(members):
                    watch.until_over()
        finally:
            if broker.pid is None:
                clear_retained_state(link, view)
    finally:
        link.close()
    return tuple(watch.notes), {} if injector is None else injector.counts


def _read_record(
    fleet: PreparedFleet, files: FleetFiles, circumstances: RunCircumstances
) -> RunRecord:
    journal = Journal(files.journal, read_only=True)
    try:
        return make_run_record(fleet, journal, circumstances)
    finally:
        journal.close()


def _remove_leftovers(directory: Path) -> None:
    """Delete the halves of files whose writers were interrupted or killed."""
    for folder in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        remove_leftovers(folder)
