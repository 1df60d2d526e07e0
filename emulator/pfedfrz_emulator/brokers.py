"""The broker of a desktop run: found or given, on loopback only, gone when the run is gone.

`auto` prefers Mosquitto, the real thing, and falls back to iotcore, which pip installs anywhere.
A broker that we start has its own configuration and log in the run's directory and a free port of
127.0.0.1; it is ready when an MQTT client has connected, not when a port is open.

On Linux the kernel ends it when its parent dies, kill -9 included. "Parent" is there the thread
that called `start_broker`: call it from one that lives as long as the broker should. It has a
session of its own, so that Ctrl-C ends it through `stop`, after the clients have said goodbye.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pfedfrz_protocol.errors import ConfigurationError, OperationError
from pfedfrz_transport import BrokerAddress, BrokerUnreachable, probe_broker

__all__ = ["RunningBroker", "find_mosquitto", "has_iotcore", "start_broker"]

_LOOPBACK = "127.0.0.1"
_ATTEMPTS = 5
"""Between choosing a free port and listening on it, another process may take it."""
_OUTSIDE_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")

# The queues hold a wave of uploads for a coordinator that is busy aggregating; a client that is
# away for good must not fill the memory, so that they have an end.
_MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
{user}set_tcp_nodelay true
max_inflight_messages 64
max_queued_messages 20000
max_queued_bytes 536870912
max_packet_size 16777216
sys_interval 0
log_dest stdout
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
{persistence}"""

# Unset, iotcore listens on every interface, takes 20 kB at most and keeps its log for ever.
_IOTCORE_TOML = """\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 26214400
max_segment_count = 2

[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 16777216
max_inflight_count = 100
dynamic_filters = false
"""

# Runs in the child before the broker does. Not a preexec_fn: that is Python code between fork and
# exec of a process with threads, which can deadlock. The signal survives exec.
# Open files are one a client: the usual soft limit of 1024 would end a large fleet.
_DIE_WITH_PARENT = """\
import ctypes, os, resource, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone already")
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
if soft != resource.RLIM_INFINITY and soft < wanted:
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
"""
_RUN_MOSQUITTO = _DIE_WITH_PARENT + "os.execv(sys.argv[2], sys.argv[2:])\n"
# A directory named iotcore in the working directory must not take the package's place; rumqttd
# reports every packet as an error, so its log is cut down to what is critical.
_RUN_IOTCORE = (
    _DIE_WITH_PARENT
    + """\
sys.path[:] = [entry for entry in sys.path if entry not in ("", ".")]
import logging
logging.basicConfig(level=logging.WARNING)
logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
from iotcore import IotCoreBroker
broker = IotCoreBroker(config_path=sys.argv[2])
broker.check_ports()
broker.run_forever()
"""
)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    script: str
    arguments: tuple[str, ...]
    """Before the path of the configuration."""
    configuration: str


class RunningBroker:
    """A broker to connect to; a context manager that stops it, if it was ours to start."""

    def __init__(
        self,
        name: str,
        address: BrokerAddress,
        process: subprocess.Popen[bytes] | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.name = name
        """`mosquitto`, `iotcore`, or for a broker of somebody else its URL without the account."""
        self.address = address
        self.log_path = log_path
        self._process = process
        if process is not None:
            atexit.register(self.stop)

    def __repr__(self) -> str:
        return f"RunningBroker({self.name!r}, {str(self.address)!r})"

    @property
    def url(self) -> str:
        """The URL to connect to, secrets included."""
        return self.address.url

    @property
    def pid(self) -> int | None:
        """The process that we started; None for somebody else's broker."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """False once a broker of ours has ended; of another's nothing is known."""
        return self._process is None or self._process.poll() is None

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the broker to end, and end it after `timeout_s`. Stopping twice is fine."""
        if self._process is not None:
            _end(self._process, timeout_s)
            atexit.unregister(self.stop)

    def kill(self) -> None:
        """End the broker as a power cut would, with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self.stop()

    def start_again(self, *, persist: bool = False, timeout_s: float = 10.0) -> None:
        """Bring a broker of ours that has ended back on its port, with its files where they were.

        `persist` is as in `start_broker`: without it what an earlier life kept is not looked at.
        Raises OperationError when it does not start.
        """
        if self._process is None or self.log_path is None:
            raise ValueError("only a broker that was started here can be started again")
        again = start_broker(
            self.name,
            self.log_path.parent,
            port=self.address.port,
            persist=persist,
            timeout_s=timeout_s,
        )
        self._process = again._process
        atexit.unregister(again.stop)
        atexit.register(self.stop)

    def __enter__(self) -> RunningBroker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def find_mosquitto() -> Path | None:
    """The Mosquitto broker on PATH or where distributions put it; None when there is none."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_OUTSIDE_PATH])
    found = shutil.which("mosquitto", path=path)
    return None if found is None else Path(found)


def has_iotcore() -> bool:
    """True when the package iotcore is installed."""
    return importlib.util.find_spec("iotcore") is not None


def start_broker(
    preference: str,
    directory: Path,
    *,
    port: int | None = None,
    persist: bool = False,
    timeout_s: float = 10.0,
) -> RunningBroker:
    """A broker that answers: `auto`, `mosquitto`, `iotcore`, or the one at an `mqtt://` URL.

    Configuration, log and, with `persist`, Mosquitto's database go into `directory`. `port` asks
    for one port instead of a free one. Raises `ConfigurationError` when the wish cannot be had,
    a broker at a URL that does not answer included; `OperationError` when a broker does not start.
    """
    if "://" in preference:
        return _use(BrokerAddress.parse(preference), timeout_s)
    if preference not in ("auto", "mosquitto", "iotcore"):
        raise ConfigurationError(
            f"broker {preference!r} is unknown; choose auto, mosquitto, iotcore or mqtt://host:port"
        )
    mosquitto = None if preference == "iotcore" else find_mosquitto()
    if mosquitto is not None:
        return _start(_mosquitto(mosquitto, directory, persist), directory, port, timeout_s)
    if preference == "mosquitto":
        raise ConfigurationError(
            "mosquitto was not found on PATH or in /usr/sbin; install it, for instance with "
            "`apt-get install mosquitto`, or use --broker auto"
        )
    if not has_iotcore():
        raise ConfigurationError(
            "no broker was found; install mosquitto, or `pip install iotcore`, or name a broker "
            "with --broker mqtt://host:port"
        )
    if persist:
        raise ConfigurationError(
            "iotcore keeps nothing on disk; install mosquitto for a broker that persists"
        )
    iotcore = _Kind("iotcore", _RUN_IOTCORE, (), _IOTCORE_TOML)
    return _start(iotcore, directory, port, timeout_s)


def _use(address: BrokerAddress, timeout_s: float) -> RunningBroker:
    try:
        probe_broker(address, timeout_s=min(timeout_s, 3.0))
    except BrokerUnreachable as error:
        raise ConfigurationError(
            f"broker at {address} does not answer: {error.happened}; "
            f"{error.remedy}, or use --broker auto"
        ) from error
    return RunningBroker(str(address), address)


def _mosquitto(executable: Path, directory: Path, persist: bool) -> _Kind:
    # Started by root it would change to a user who cannot write here.
    user = "user root\n" if os.geteuid() == 0 else ""
    persistence = "persistence false\n"
    if persist:
        persistence = (
            f"persistence true\npersistence_location {directory.resolve()}/\nautosave_interval 10\n"
        )
    # Filled in two steps: the port is not known yet.
    configuration = _MOSQUITTO_CONF.format(
        port="{port}", host="{host}", user=user, persistence=persistence
    )
    return _Kind("mosquitto", _RUN_MOSQUITTO, (str(executable), "-c"), configuration)


def _start(kind: _Kind, directory: Path, port: int | None, timeout_s: float) -> RunningBroker:
    directory.mkdir(parents=True, exist_ok=True)
    configuration_path = directory / f"{kind.name}.conf"
    if kind.name == "iotcore":
        configuration_path = configuration_path.with_suffix(".toml")
    log_path = directory / f"{kind.name}.log"
    deadline = time.monotonic() + timeout_s
    for _ in range(1 if port is not None else _ATTEMPTS):
        address = BrokerAddress(_LOOPBACK, port if port is not None else _free_port())
        configuration_path.write_text(
            kind.configuration.format(port=address.port, host=address.host), encoding="utf-8"
        )
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", kind.script, str(os.getpid())),
                    *(*kind.arguments, str(configuration_path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if _is_ready(process, address, deadline):
                return RunningBroker(kind.name, address, process, log_path)
        except BaseException:
            _end(process, 1.0)
            raise
        ended_by_itself = process.poll() is not None
        _end(process, 1.0)
        if not ended_by_itself:
            raise OperationError(
                f"{kind.name} did not answer within {timeout_s:g} s; see {log_path}"
            )
    raise OperationError(
        f"{kind.name} does not start: {_last_error(log_path)}; "
        f"see {log_path} and {configuration_path}"
    )


def _is_ready(process: subprocess.Popen[bytes], address: BrokerAddress, deadline: float) -> bool:
    while process.poll() is None and time.monotonic() < deadline:
        if _is_listening(process.pid, address):
            with contextlib.suppress(BrokerUnreachable):
                probe_broker(address, timeout_s=max(0.1, deadline - time.monotonic()))
                return process.poll() is None
        time.sleep(0.01)
    return False


def _is_listening(pid: int, address: BrokerAddress) -> bool:
    # That the port answers proves nothing: another broker may have it, while ours is about to end.
    process = Path(f"/proc/{pid}")
    if not process.exists():  # not Linux
        with contextlib.suppress(OSError):
            socket.create_connection((address.host, address.port), timeout=1.0).close()
            return True
        return False
    try:
        rows = [row.split() for row in (process / "net/tcp").read_text().splitlines()[1:]]
        held = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
    except OSError:  # it ended, or closed a file, while we looked
        return False
    listening = (row for row in rows if row[3] == "0A")
    return any(
        int(row[1].split(":")[1], 16) == address.port and f"socket:[{row[9]}]" in held
        for row in listening
    )


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _last_error(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if "Error:" in line]
    return (errors or lines or ["it left no message"])[-1]
