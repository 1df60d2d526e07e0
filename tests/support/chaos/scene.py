"""A small fleet whose members are started one by one, on disks and clocks that are not well.

Works as root and as anybody else: a disk that is full is a limit on the size of files, which the
kernel enforces on everybody, and a disk that is read-only is a directory without the permission to
write, which counts for root as well once the capability to override it is given up.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pfedfrz_coordinator.journal import DeviceRow, Journal, RoundRow
from pfedfrz_emulator.brokers import RunningBroker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet_files import write_fleet_files
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet
from pfedfrz_protocol import OperationError
from pfedfrz_storage import load_tensors

__all__ = ["COORDINATOR", "Running", "Scene", "prepare_scene"]

COORDINATOR = "coordinator"
PATIENCE_S = 60.0
_SMALL_BYTES = 512
"""No file may grow beyond, where the disk is full."""

_WITHOUT_OVERRIDE = """\
import ctypes, os, sys
for capability in (1, 2, 3):  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; only root has them
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
_RUN = """\
import resource, sys, time
bytes_, seconds = int(sys.argv[1]), float(sys.argv[2])
if bytes_:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
if seconds:
    real = time.time
    time.time = lambda: real() + seconds
from pfedfrz_emulator.member_process import main
sys.exit(main(sys.argv[3:]))
"""


class Running:
    """A member's process and what it says."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            },
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self.lines.extend(line.rstrip("\n") for line in stream)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def errors(self) -> list[str]:
        """The last words of a process that could not go on."""
        return [line for line in self.lines if line.startswith("error: ")]

    def fill_disk(self, full: bool = True) -> None:
        """From now on its files may not grow, or may again."""
        hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
        limit = _SMALL_BYTES if full else hard
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def pause(self, paused: bool = True) -> None:
        """Let it stand still, or run again."""
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def ends(self) -> int:
        """Its code, when it has ended by itself."""
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def kill(self) -> None:
        """SIGKILL, also to one that has ended."""
        self._process.kill()
        self.ends()


def prepare_scene(devices: int = 2, rounds: int = 400) -> PreparedFleet:
    """Devices whose rounds take a fraction of a second."""
    return prepare_fleet(
        Experiment(
            dataset="digits",
            model="mlp",
            alpha=1.0,
            devices=devices,
            rounds=rounds,
            samples=60,
            test_per_class=5,
            deadline_s=3.0,
        )
    )


class Scene:
    """One federation in a directory."""

    def __init__(self, fleet: PreparedFleet, directory: Path, broker: RunningBroker) -> None:
        self.directory = directory
        self.files = write_fleet_files(fleet, directory, directory.name, broker.url)
        self.members: dict[str, Running] = {}

    def start(self, name: str, *, full: bool = False, clock_s: float = 0.0) -> Running:
        """Start a member, on a full disk or with a clock that is wrong by `clock_s`."""
        role = COORDINATOR if name == COORDINATOR else "device"
        path = self.files.coordinator if name == COORDINATOR else self.files.device(name)
        member = [str(os.getpid()), role, str(path)]
        size = str(_SMALL_BYTES if full else 0)
        command = [sys.executable, "-c", _WITHOUT_OVERRIDE, _RUN, size, str(clock_s), *member]
        self.members[name] = Running(command)
        return self.members[name]

    def state_of(self, name: str) -> Path:
        """Where a member keeps what must survive."""
        return self.directory / ("." if name == COORDINATOR else "devices") / name

    @contextmanager
    def read_only(self, name: str) -> Iterator[None]:
        """The member's directories take nothing new while the context lasts."""
        state = self.state_of(name)
        folders = [state, *(path for path in state.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)

    def rounds(self) -> list[RoundRow]:
        """What the journal says."""
        journal = Journal(self.files.journal, read_only=True)
        try:
            return journal.rounds()
        except OperationError:
            return []  # in its first instant it has no tables yet
        finally:
            journal.close()

    def members_of(self, number: int) -> dict[str, DeviceRow]:
        """Who took part in a round."""
        journal = Journal(self.files.journal, read_only=True)
        try:
            return {row.device: row for row in journal.members(number)}
        finally:
            journal.close()

    def waits_for(self, device: str) -> bool:
        """Whether everybody but this device has delivered in the open round."""
        members = self.members_of(self.last_closed() + 1)
        others = {row.status for name, row in members.items() if name != device}
        return others == {"accepted"} and members[device].status != "accepted"

    def last_closed(self) -> int:
        """The last closed round; 0 before the first."""
        if not self.files.journal.exists():
            return 0
        return max((row.number for row in self.rounds() if row.closed_at), default=0)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            said = {name: member.lines[-5:] for name, member in self.members.items()}
            assert time.monotonic() < deadline, f"waited in vain until {what}: {said}"
            time.sleep(0.02)

    def wait_for_rounds(self, more: int = 2) -> None:
        """Until that many more rounds have closed."""
        last = self.last_closed() + more
        self.wait(lambda: self.last_closed() >= last, f"round {last} has closed")

    def personal(self, device: str) -> tuple[int, int]:
        """Round and phase of a device's newest personal weights, which verify."""
        files = sorted(self.state_of(device).glob("personal-*.safetensors"))
        _, notes = load_tensors(files[-1])
        return int(notes["round"]), int(notes["phase"])

    def close(self) -> None:
        """End everybody."""
        for member in self.members.values():
            member.kill()
