"""One case of the benchmark from its broker to its figures."""

from __future__ import annotations

import multiprocessing
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from pfedfrz_coordinator.journal import Journal
from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_protocol import OperationError, write_bundle

from .fleet_process import run_fleet
from .ledger import Ledger
from .light_client import device_key, device_name
from .orders import (
    Counted,
    FleetHeard,
    FleetPlayed,
    FleetSpec,
    FleetUp,
    Play,
    PlayYardstick,
    Quit,
    SubscriberSpec,
    SubscriberUp,
    YardstickPlayed,
)
from .prepared import make_bundle, parameters_for
from .process_use import cpu_seconds, peak_memory_mb
from .subscriber import run_subscriber

__all__ = ["Case", "CaseResult", "RoundFigures", "run_case"]

FEDERATION, YARDSTICK = "scale", "yardstick"
_DEADLINE_S = 300
_PATIENCE_S = 240.0
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Case:
    """How many devices, how many of them in a round, and what they send."""

    registered: int
    selected: int
    payload_kb: int = 1000
    wave: int = 16
    """Uploads at once: grants of the coordinator, and the same for the yardstick."""
    processes: int = 2
    variants: int = 8
    """Different bodies among the updates."""
    heartbeat_s: float = 15.0
    aggregation: str = "mean"

    @property
    def name(self) -> str:
        """Registered and selected devices."""
        return f"{self.registered}/{self.selected}"


@dataclass(frozen=True)
class RoundFigures:
    """One round, and the yardstick's turn before it."""

    round_s: float
    """From the first offer until every device has heard the next round's announcement."""
    uploads_s: float
    """From the first offer to the last verdict."""
    upload_mb: float
    yardstick_s: float
    """The same bytes from the same clients to a plain subscriber."""
    yardstick_cpu_s: float
    coordinator_cpu_s: float
    messages_in: int
    """To the coordinator."""
    messages_out: int
    """What light clients received: announcements to everybody, commands to the selected."""
    accepted: int
    rejected: int
    missed: int
    """Selected devices without an accepted update, and grants that expired."""

    @property
    def mb_s(self) -> float:
        """Update payload per second, MB of 10^6 bytes."""
        return self.upload_mb / self.uploads_s

    @property
    def ratio(self) -> float:
        """Throughput over the yardstick's."""
        return self.yardstick_s / self.uploads_s


@dataclass(frozen=True)
class CaseResult:
    """A case; the first round was for warming up and is not among the rounds."""

    case: Case
    connect_s: float
    rounds: tuple[RoundFigures, ...]
    peak_memory_mb: float
    notes: tuple[str, ...]
    """What the coordinator wrote down for people."""

    def median(self, figure: Callable[[RoundFigures], float]) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(figure(each) for each in self.rounds)


class _Worker:
    """A process of ours and the pipe to it."""

    def __init__(
        self,
        target: Callable[..., None],
        spec: object,
        coordinator: subprocess.Popen[bytes],
    ) -> None:
        self._coordinator = coordinator
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=target, args=(spec, other), daemon=True)
        self.process.start()
        other.close()

    def ask(self, kind: type[Answer]) -> Answer:
        """The next answer, which must be of that kind."""
        return _receive(self.pipe, kind, self._coordinator)


def _receive(pipe: Pipe, kind: type[Answer], coordinator: subprocess.Popen[bytes]) -> Answer:
    deadline = time.monotonic() + _PATIENCE_S
    while not pipe.poll(1.0):
        if coordinator.poll() is not None:
            raise OperationError(f"the coordinator ended before {kind.__name__}")
        if time.monotonic() > deadline:
            raise OperationError(f"no {kind.__name__} within {_PATIENCE_S:g} s")
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise OperationError(f"a process ended instead of saying {kind.__name__}") from error
    if not isinstance(answer, kind):
        raise OperationError(f"{answer!r} where {kind.__name__} was due")
    return answer


def run_case(
    case: Case, repeats: int, *, log: Callable[[str], None], tracer: tuple[str, ...] = ()
) -> CaseResult:
    """Run the case with `repeats` measured rounds; OperationError when it comes to a halt.

    `tracer` is put in front of the coordinator's command line, for a profiler.
    """
    with tempfile.TemporaryDirectory(prefix="pfedfrz-scale-") as name:
        folder = Path(name)
        with start_broker("mosquitto", folder / "broker") as broker:
            return _run(case, repeats, folder, broker, log, tracer)


def _run(
    case: Case,
    repeats: int,
    folder: Path,
    broker: RunningBroker,
    log: Callable[[str], None],
    tracer: tuple[str, ...],
) -> CaseResult:
    parameters = parameters_for(case.payload_kb * 1000)
    bundle = make_bundle(parameters)
    (folder / "scale.pfz").write_bytes(write_bundle(bundle.manifest, bundle.files))
    ledger_path = folder / "ledger"
    ledger = Ledger(ledger_path, senders=case.processes)
    address = (broker.address.host, broker.address.port)
    workers: list[_Worker] = []
    with _coordinator(case, repeats, folder, broker, tracer) as coordinator:
        try:
            filter_ = f"pfedfrz-bin/v1/{YARDSTICK}/device/+/update/+/+"
            spec = SubscriberSpec(*address, filter_, str(ledger_path))
            subscriber = _Worker(run_subscriber, spec, coordinator)
            workers.append(subscriber)
            subscriber.ask(SubscriberUp)
            fleets = []
            bounds = [case.registered * n // case.processes for n in range(case.processes + 1)]
            for place, (first, last) in enumerate(pairwise(bounds)):
                fleets.append(
                    _Worker(
                        run_fleet,
                        FleetSpec(
                            *address, FEDERATION, parameters, first, last, case.variants,
                            case.heartbeat_s, str(ledger_path), place,
                        ),
                        coordinator,
                    )
                )  # fmt: skip
            workers += fleets
            connect_s = max(fleet.ask(FleetUp).seconds for fleet in fleets)
            log(f"{case.name}: {case.registered} clients connected in {connect_s:.1f} s")
            figures = _play(case, repeats, coordinator, subscriber, fleets, ledger, log)
            peak = peak_memory_mb(coordinator.pid)
            coordinator.send_signal(signal.SIGINT)
            coordinator.wait(60)
            for worker in workers:
                worker.pipe.send(Quit())
            for worker in workers:
                worker.process.join(10.0)
        finally:
            for worker in workers:
                worker.process.kill()
    journal = Journal(folder / "state" / "journal.sqlite", read_only=True)
    notes = tuple(journal.notes())
    journal.close()
    return CaseResult(case, connect_s, tuple(figures[1:]), peak, notes)


def _play(
    case: Case,
    repeats: int,
    coordinator: subprocess.Popen[bytes],
    subscriber: _Worker,
    fleets: list[_Worker],
    ledger: Ledger,
    log: Callable[[str], None],
) -> list[RoundFigures]:
    figures: list[RoundFigures] = []
    heard = [fleet.ask(FleetHeard) for fleet in fleets]
    for number in range(1, repeats + 2):
        if any(each.round != number for each in heard):
            raise OperationError(f"round {number} was due, not {heard}")
        total = sum(each.payload_bytes for each in heard)
        # The yardstick's turn, while the coordinator waits for offers.
        ledger.clear()
        subscriber.pipe.send(total)
        subscriber.ask(SubscriberUp)
        began = time.monotonic()
        for fleet in fleets:
            fleet.pipe.send(PlayYardstick(YARDSTICK, case.wave, -(-total // case.selected)))
        sent = sum(fleet.ask(YardstickPlayed).uploaded_bytes for fleet in fleets)
        if sent != total:
            raise OperationError(f"{sent} bytes for the yardstick, not {total}")
        counted = subscriber.ask(Counted)
        yardstick_s = counted.at_s - began
        # The coordinator's turn.
        cpu = cpu_seconds(coordinator.pid)
        began = time.monotonic()
        for fleet in fleets:
            fleet.pipe.send(Play(number))
        played = [fleet.ask(FleetPlayed) for fleet in fleets]
        heard = [fleet.ask(FleetHeard) for fleet in fleets]
        cpu = cpu_seconds(coordinator.pid) - cpu
        accepted = sum(each.accepted for each in played)
        granted = sum(each.granted for each in played)
        figures.append(
            RoundFigures(
                round_s=max(each.at_s for each in heard) - began,
                uploads_s=max(each.at_s for each in played) - began,
                upload_mb=sum(each.uploaded_bytes for each in played) / 1e6,
                yardstick_s=yardstick_s,
                yardstick_cpu_s=counted.cpu_s,
                coordinator_cpu_s=cpu,
                messages_in=sum(each.published for each in played),
                messages_out=sum(each.received for each in played),
                accepted=accepted,
                rejected=sum(each.rejected for each in played),
                missed=case.selected - accepted + granted - case.selected,
            )
        )
        last = figures[-1]
        log(
            f"{case.name}: round {number}: {last.round_s:.2f} s, {last.mb_s:.0f} MB/s beside "
            f"{last.upload_mb / last.yardstick_s:.0f} MB/s, ratio {last.ratio:.2f}, "
            f"CPU {last.coordinator_cpu_s:.2f} s, accepted {last.accepted}"
        )
    return figures


@contextmanager
def _coordinator(
    case: Case, repeats: int, folder: Path, broker: RunningBroker, tracer: tuple[str, ...]
) -> Iterator[subprocess.Popen[bytes]]:
    lines = (f'{device_name(n)} = "{device_key(n).public}"' for n in range(case.registered))
    (folder / "devices.toml").write_text("\n".join(["[devices]", *lines, ""]))
    configuration = folder / "coordinator.toml"
    configuration.write_text(
        f"""\
federation = "{FEDERATION}"
bundle = "scale.pfz"
state_dir = "state"
broker = "{broker.url}"
aggregation = "{case.aggregation}"

[rounds]
rounds = {repeats + 2}
start_devices = {case.registered}
start_timeout_s = 300
participants = {case.selected}
uploads_at_once = {case.wave}
deadline_s = {_DEADLINE_S}
evaluate = false

[enrolment]
devices = "devices.toml"
"""
    )
    log_path = folder / "coordinator.log"
    with log_path.open("wb") as out:
        command = [*tracer, sys.executable, "-m", "pfedfrz", "coordinator"]
        process = subprocess.Popen(
            [*command, "--config", str(configuration)], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    except OperationError as error:
        last = log_path.read_text(errors="replace").strip().splitlines()[-3:]
        raise OperationError(
            f"{error}; the coordinator's last words: {' | '.join(last)}"
        ) from error
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
