"""A run with kills: real processes, a real Mosquitto, and a supervisor that only starts again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import tomli_w

from pfedfrz_emulator.brokers import start_broker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet_files import FleetFiles, write_fleet_files
from pfedfrz_emulator.lifetime import interrupts_deferred
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet

from .plan import BROKER, COORDINATOR, Step, plan_steps
from .witness import Witness

__all__ = ["ChaosRun", "Outcome"]

FEDERATION = "chaos"
_PATIENCE_S = 90.0
_KILLS_BETWEEN_ROUNDS = 8
"""After that many kills a round has to close before the next, or nothing would ever be done."""
_TO_COME_TO_IT_S = 8.0
_ENDLESS = 100_000


@dataclass
class Outcome:
    """What was done to a fleet."""

    fleet: PreparedFleet
    files: FleetFiles
    kills: Counter[str] = field(default_factory=Counter)
    """By victim: `device`, `coordinator`, `broker`."""
    deaths: Counter[str] = field(default_factory=Counter)
    """By the instant that was chosen."""
    rounds: int = 0
    stale_rounds: int = 0
    """How often a device trained for a round that was over: see checks.py."""
    seconds: float = 0.0


class ChaosRun:
    """One run in a directory; `go` does it, then everything that was left behind can be checked."""

    def __init__(self, directory: Path, kills: int, seed: int, devices: int = 4) -> None:
        self._directory = directory
        self._wanted = kills
        self._fleet = prepare_fleet(
            Experiment(
                dataset="digits",
                model="mlp",
                alpha=1.0,
                devices=devices,
                rounds=_ENDLESS,
                samples=60,
                test_per_class=5,
                deadline_s=20.0,
                seed=seed,
            )
        )
        self._steps = plan_steps([device.name for device in self._fleet.devices], seed)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._orders: dict[str, tuple[str, int]] = {}
        self._back_s: dict[str, float] = {}
        """When whoever is down comes back."""
        self._spared_until_s: dict[str, float] = {}
        """Who has an instant at which to die is left to come to it, for some seconds."""
        self._broker_persists = False
        self._deaths_read = 0

    def go(self) -> tuple[Outcome, Witness]:
        """Do the kills, then let the run end; AssertionError when the fleet does not go on."""
        began_s = time.monotonic()
        with start_broker("mosquitto", self._directory / "broker") as broker:
            self._broker = broker
            self._files = write_fleet_files(self._fleet, self._directory, FEDERATION, broker.url)
            self._configure_rounds("grant_timeout_s", 5.0)
            self._witness = Witness(self._directory, FEDERATION, broker.address)
            self._outcome = Outcome(self._fleet, self._files)
            try:
                for name in (COORDINATOR, *(device.name for device in self._fleet.devices)):
                    self._start(name)
                self._kill_all_that_was_asked_for()
                self._end()
            finally:
                for process in self._processes.values():
                    if process.poll() is None:
                        process.kill()
                    process.wait()
                self._witness.close()
        self._outcome.seconds = time.monotonic() - began_s
        self._outcome.rounds = self._witness.last_closed
        return self._outcome, self._witness

    def _kill_all_that_was_asked_for(self) -> None:
        self._wait_for_a_round()
        since_round = 0
        while self._outcome.kills.total() < self._wanted:
            step = next(self._steps)
            self._watch(step.gap_s)
            before = self._outcome.kills.total()
            self._do(step)
            since_round += self._outcome.kills.total() - before
            if since_round >= _KILLS_BETWEEN_ROUNDS:
                self._wait_for_a_round()
                since_round = 0

    def _do(self, step: Step) -> None:
        if step.victim in self._back_s:
            return  # down already
        if time.monotonic() < self._spared_until_s.get(step.victim, 0.0):
            return
        if step.victim == BROKER:
            self._broker.kill()
            self._broker_persists = step.persists
            self._count(BROKER, step.down_s)
            return
        process = self._processes[step.victim]
        if process.poll() is None:
            process.kill()
            process.wait()
        self._orders[step.victim] = (step.point, step.nth)
        self._bury(step.victim, step.down_s)

    def _watch(self, seconds: float) -> None:
        """Look on for a while, and start again whoever is to come back."""
        until = time.monotonic() + seconds
        while True:
            self._witness.look(0.02)
            for name, process in self._processes.items():
                if name not in self._back_s and process.poll() is not None:
                    self._bury(name, 0.1)
            for name, back_s in list(self._back_s.items()):
                if time.monotonic() >= back_s:
                    del self._back_s[name]
                    self._start(name)
            if time.monotonic() >= until:
                return

    def _bury(self, name: str, down_s: float) -> None:
        process = self._processes[name]
        log = self._files.log(name)
        assert process.returncode == -signal.SIGKILL, (
            f"{name} ended with code {process.returncode}: {log.read_text()[-2000:]}"
        )
        if name != COORDINATOR:
            self._witness.look_at_personal(name)
        self._spared_until_s.pop(name, None)
        self._count("device" if name != COORDINATOR else name, down_s, name)
        self._read_deaths()

    def _count(self, kind: str, down_s: float, name: str = "") -> None:
        self._outcome.kills[kind] += 1
        self._back_s[name or kind] = time.monotonic() + down_s

    def _read_deaths(self) -> None:
        path = self._witness.folder / "deaths"
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[self._deaths_read :]:
            self._outcome.deaths[line.partition(" ")[2]] += 1
        self._deaths_read = len(lines)

    def _start(self, name: str) -> None:
        if name == BROKER:
            self._broker.start_again(persist=self._broker_persists)
            return
        role = "coordinator" if name == COORDINATOR else "device"
        path = self._files.coordinator if name == COORDINATOR else self._files.device(name)
        point, nth = self._orders.pop(name, ("", 1))
        self._spared_until_s[name] = time.monotonic() + (_TO_COME_TO_IT_S if point else 0.0)
        own = [str(self._witness.folder), point, str(nth)]
        with self._files.log(name).open("ab") as log, interrupts_deferred():
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "chaos.member", *own, str(os.getpid()), role, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                },
            )

    def _configure_rounds(self, key: str, value: float) -> None:
        path = self._files.coordinator
        configuration = msgspec.toml.decode(path.read_bytes())
        configuration["rounds"][key] = value
        path.write_text(tomli_w.dumps(configuration))

    def _wait_for_a_round(self) -> None:
        closed, deadline = self._witness.last_closed, time.monotonic() + _PATIENCE_S
        while self._witness.last_closed == closed:
            assert time.monotonic() < deadline, (
                f"round {closed + 1} did not close within {_PATIENCE_S:g} s; see {self._directory}"
            )
            self._watch(0.05)

    def _end(self) -> None:
        """Everybody comes back, and the coordinator is told of an end that is near."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._back_s:
            self._watch(0.05)
        # Also those that still have an instant at which to die: they are told anew.
        for name in list(self._processes):
            self._orders.pop(name, None)
            process = self._processes[name]
            process.kill()
            process.wait()
            if name == COORDINATOR:
                self._configure_rounds("rounds", self._witness.last_closed + 2)
            self._bury(name, 0.0)
        names = list(self._processes)
        for name in names:
            del self._back_s[name]
            self._start(name)
        while any(process.poll() is None for process in self._processes.values()):
            assert time.monotonic() < deadline, f"the run does not end; see {self._directory}"
            self._witness.look(0.05)
        self._witness.look(0.3)
        codes = {name: process.returncode for name, process in self._processes.items()}
        assert set(codes.values()) == {0}, codes
