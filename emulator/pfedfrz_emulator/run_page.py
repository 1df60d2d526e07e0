"""The page of a run: `pfedfrz monitor --web` beside it, as a process of its own.

It watches over MQTT like anybody else, as an operator of the emulated federation, so that pausing
and throwing out can be tried. It is started from an ordinary `monitor.toml` in the run's directory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import tomli_w

from pfedfrz_monitor.web.access import Listen
from pfedfrz_protocol import OperationError, SigningKey
from pfedfrz_storage import save_signing_key, write_atomically

from .fleet_files import FleetFiles
from .lifetime import interrupts_deferred

__all__ = ["OPERATOR", "RunPage", "make_operator_key"]

OPERATOR = "emulator"
_USUAL = Listen("127.0.0.1", 8765)
_START_S = 20.0
_GOODBYE_S = 5.0


def make_operator_key(directory: Path) -> str:
    """A new key for the run's operator; the public one, for the coordinator."""
    key = SigningKey.generate()
    save_signing_key(directory / "operator.key", key)
    return key.public


class RunPage:
    """A context manager: while it is open, the page is served at `url`."""

    def __init__(
        self, files: FleetFiles, broker_url: str, labels: dict[str, str], listen: str | None = None
    ) -> None:
        """`listen` is HOST:PORT; without it a usual port, or any when that is in use.

        Raises ConfigurationError for what no address can be.
        """
        self._files = files
        self._listen = _place(listen)
        self._token = secrets.token_urlsafe(16)
        directory = files.directory
        write_atomically(directory / "page.token", f"{self._token}\n".encode(), mode=0o600)
        content = {
            "federation": files.federation,
            "broker": broker_url,
            "operator": OPERATOR,
            "operator_key_file": "operator.key",
            "web": {"listen": _written(self._listen), "token_file": "page.token"},
            "labels": labels,
        }
        write_atomically(files.monitor, tomli_w.dumps(content).encode(), mode=0o600)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to look, with what allows to act."""
        return f"http://{self._listen.netloc}/#token={self._token}"

    def __enter__(self) -> RunPage:
        command = [
            *(sys.executable, "-m", f"{__package__}.member_process"),
            *(str(os.getpid()), "page", str(self._files.monitor)),
        ]
        log_path = self._files.log("page")
        # What the process says has the page's token in it.
        with open(log_path, "ab", opener=_private) as log, interrupts_deferred():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_served(self._process, log_path)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _wait_until_served(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        end = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < end:
            connection = http.client.HTTPConnection(self._listen.netloc, timeout=1.0)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            connection.close()
            time.sleep(0.05)
        lines = log_path.read_text(errors="replace").strip().splitlines()
        raise OperationError(
            f"the page was not served: {lines[-1] if lines else 'it left no message'} "
            f"(see {log_path})"
        )

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _place(listen: str | None) -> Listen:
    """Where to listen: a free port for port 0, and where the usual one is in use."""
    places = [_USUAL, Listen(_USUAL.host, 0)] if listen is None else [Listen.parse(listen)]
    if listen is not None and places[0].port:
        return places[0]
    for place in places:
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place.host, place.port))
            return Listen(place.host, int(probe.getsockname()[1]))
    raise OperationError(f"no port of {places[-1].host} is free for the page")


def _written(place: Listen) -> str:
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
