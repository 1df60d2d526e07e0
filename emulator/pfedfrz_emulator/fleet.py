"""The processes of an emulated fleet: started together, watched, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from pfedfrz_protocol import OperationError

from .fleet_files import FleetFiles
from .lifetime import interrupts_deferred
from .preparation import PreparedFleet

__all__ = ["Fleet", "MemberEnded"]

COORDINATOR = "coordinator"
_GOODBYE_S = 15.0
_ALONE_S = 10.0
"""How long the coordinator may take to end after the last device has."""


@dataclass(frozen=True)
class MemberEnded:
    """A process of the fleet that has ended."""

    name: str
    code: int

    def describe(self) -> str:
        """For people: what became of it."""
        if self.code < 0:
            return f"{self.name} was killed by signal {-self.code}"
        return f"{self.name} ended with code {self.code}"


class Fleet:
    """A coordinator and its devices as child processes; a context manager that ends them all.

    Each child has a session of its own, so that Ctrl-C reaches it through `stop`, after which it
    says goodbye to the broker; and each ends with this process, even if this process is killed.
    """

    def __init__(self, fleet: PreparedFleet, files: FleetFiles) -> None:
        self._fleet = fleet
        self._files = files
        self._members: dict[str, subprocess.Popen[bytes]] = {}
        self._roles: dict[str, list[str]] = {}
        self._down: set[str] = set()
        """Who was killed by `kill` and is to come back: not lost."""
        self._reported: set[str] = set()
        self._alone_since_s: float | None = None

    def start(self) -> None:
        """Start everybody."""
        self._spawn(COORDINATOR, [COORDINATOR, str(self._files.coordinator)])
        for device in self._fleet.devices:
            role = ["device", str(self._files.device(device.name))]
            if device.attacker:
                role.append(str(self._files.attack))
            self._spawn(device.name, role)

    def kill(self, name: str) -> bool:
        """End a member with SIGKILL, for `start_again`; False when it has ended already."""
        process = self._members[name]
        if process.poll() is not None:
            return False
        process.kill()
        if process.wait() != -signal.SIGKILL:
            return False  # it ended by itself in this very moment
        self._down.add(name)
        return True

    def start_again(self, name: str) -> None:
        """Start a member that `kill` has ended from the same files: what a supervisor does."""
        self._spawn(name, self._roles[name])
        self._down.discard(name)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a member; nothing happens when it has ended."""
        self._members[name].send_signal(number)

    def _spawn(self, name: str, role: Sequence[str]) -> None:
        self._roles[name] = list(role)
        # One thread each: on a desktop the devices share the cores, and parallel devices beat
        # parallel kernels.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"{__package__}.member_process", str(os.getpid()), *role]
        with self._files.log(name).open("ab") as log, interrupts_deferred():
            self._members[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    def pid(self, name: str) -> int:
        """The process id of a member."""
        return self._members[name].pid

    def newly_lost(self) -> list[MemberEnded]:
        """Devices that have failed or were killed since the last call."""
        lost = [
            MemberEnded(name, process.returncode)
            for name, process in self._members.items()
            if name not in self._reported | self._down and name != COORDINATOR and process.poll()
        ]
        self._reported.update(member.name for member in lost)
        return lost

    def is_over(self) -> bool:
        """Whether the federation has done its rounds.

        Raises OperationError when the coordinator failed or when no device is left.
        """
        code = None if COORDINATOR in self._down else self._members[COORDINATOR].poll()
        if code == 0:
            return True
        if code is not None:
            raise OperationError(self._obituary(COORDINATOR, code))
        devices = {n: p.poll() for n, p in self._members.items() if n != COORDINATOR}
        if self._down or any(code is None for code in devices.values()):
            return False
        # A device that ended well was told to stop: the coordinator is about to end as well.
        self._alone_since_s = self._alone_since_s or time.monotonic()
        if all(devices.values()) or time.monotonic() > self._alone_since_s + _ALONE_S:
            name, code = max(devices.items(), key=lambda device: bool(device[1]))
            raise OperationError(f"no device is left: {self._obituary(name, code or 0)}")
        return False

    def _obituary(self, name: str, code: int) -> str:
        path = self._files.log(name)
        lines = path.read_text(errors="replace").strip().splitlines()
        # Whoever was killed had no time to say why.
        last = f": {lines[-1]}" if lines and code > 0 else ""
        return f"{MemberEnded(name, code).describe()}{last} (see {path})"

    def stop(self) -> None:
        """End whoever still runs: politely first, then for certain.

        Interrupted while it waits, as by a second Ctrl-C, it ends them at once.
        """
        running = [p for p in self._members.values() if p.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _GOODBYE_S
        try:
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
