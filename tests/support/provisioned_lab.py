"""A federation that `pfedfrz provision` made, and its Mosquitto with the generated files."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from tiny_bundle import make_bundle

from pfedfrz_emulator.brokers import find_mosquitto
from pfedfrz_protocol import write_bundle
from pfedfrz_provision import Accounts, Provisioned, Request, provision
from pfedfrz_provision.passwords import hash_password, new_password
from pfedfrz_transport import (
    BackoffPolicy,
    BrokerAccess,
    BrokerUnreachable,
    LinkDown,
    LinkUp,
    Message,
    MqttLink,
    Refused,
    TlsSettings,
    Will,
    open_access,
    probe_broker,
)

PATIENCE_S = 10.0
FEDERATION = "lab"
DEVICES = ("device-00", "device-01")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_tiny_bundle(path: Path) -> Path:
    bundle = make_bundle()
    path.write_bytes(write_bundle(bundle.manifest, bundle.files))
    return path


@dataclass
class Ear:
    """A link and all that it was sent."""

    link: MqttLink
    heard: list[Message] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    downs: int = 0
    """How often the broker put it out."""

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.heard]

    def until(self, topic: str, payload: bytes) -> None:
        """Take events until this message came; fails when it does not."""
        deadline = time.monotonic() + PATIENCE_S
        while not any((m.topic, m.payload) == (topic, payload) for m in self.heard):
            assert time.monotonic() < deadline, f"{topic} did not come; heard: {self.topics}"
            self.take(0.1)

    def until_down(self) -> None:
        """Take events until the broker has cut the connection."""
        deadline = time.monotonic() + PATIENCE_S
        while self.link.is_up:
            assert time.monotonic() < deadline, "the broker did not cut the connection"
            self.take(0.1)

    def take(self, timeout_s: float) -> None:
        event = self.link.poll(timeout_s)
        if isinstance(event, Message):
            self.heard.append(event)
        elif isinstance(event, Refused):
            self.refused.append(event.topic)
        elif isinstance(event, LinkDown):
            self.downs += 1


class Lab:
    """The directory, the broker's process and the members' links."""

    def __init__(
        self,
        directory: Path,
        accounts: Accounts,
        *,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        devices: tuple[str, ...] = DEVICES,
        operators: tuple[str, ...] = (),
        broker_user: str | None = None,
        bundle: Path | None = None,
    ) -> None:
        """`bundle` is what the members train; by default one that nobody can train."""
        self.directory = directory
        self.log = directory.with_name(f"{directory.name}-broker.log")
        self.bundle = bundle or write_tiny_bundle(directory.with_name(f"{directory.name}.pfz"))
        self.request = Request(
            federation=FEDERATION,
            hosts=hosts,
            names=devices,
            operators=operators,
            accounts=accounts,
            port=free_port(),
            bind="127.0.0.1",
            broker_user=broker_user,
        )
        self.made: Provisioned = provision(directory, self.request, self.bundle)
        self._closing = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.made.port

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()
        self.stop(signal.SIGTERM)

    def admit_spy(self) -> BrokerAccess:
        """Put an account onto the broker's lists that may read everything there is.

        No account of a real federation may; before `start`, with accounts by password.
        """
        broker, secret = self.directory / "broker", self.directory / "spy" / "password"
        password = new_password()
        secret.parent.mkdir()
        secret.touch(mode=0o600)
        secret.write_text(password)
        with (broker / "access.acl").open("a") as access_list:
            access_list.write("\nuser spy\ntopic read #\n")
        with (broker / "passwords").open("a") as passwords:
            passwords.write(f"spy:{hash_password(password)}\n")
        url = f"mqtts://spy@{self.made.hosts[0]}:{self.port}"
        return open_access(url, TlsSettings(self.directory / "monitor" / "ca.pem"), secret)

    def start(self) -> None:
        """Run Mosquitto with the generated configuration until it takes the monitor."""
        mosquitto = find_mosquitto()
        assert mosquitto is not None, "install mosquitto"
        configuration = self.directory / "broker" / "mosquitto.conf"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [mosquitto, "-c", configuration], cwd="/", stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()

    def _answers(self) -> bool:
        access = self.access("monitor")
        try:
            probe_broker(access.address, timeout_s=1.0, options=access.options)
        except BrokerUnreachable:
            return False
        return True

    def stop(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def reload(self) -> None:
        """SIGHUP, and time to read the files: the broker's loop looks at it ten times a second."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        time.sleep(1.0)

    def folder(self, name: str) -> Path:
        for kind in ("operators", "monitors"):
            if (self.directory / kind / name).exists():
                return self.directory / kind / name
        is_device = name not in ("coordinator", "monitor")
        return self.directory / "devices" / name if is_device else self.directory / name

    def access(self, name: str) -> BrokerAccess:
        """What a member's own file says."""
        folder = self.folder(name)
        files = (folder / f"{kind}.toml" for kind in ("coordinator", "device", "monitor"))
        file = next(file for file in files if file.exists())
        said: dict[str, Any] = msgspec.toml.decode(file.read_bytes())
        paths = {key: Path(path) for key, path in said["tls"].items()}
        password = said.get("password_file")
        return open_access(
            said["broker"],
            TlsSettings(**paths).below(folder),
            folder / password if password else None,
        )

    def join(
        self, name: str, *filters: str, client_id: str | None = None, will: Will | None = None
    ) -> Ear:
        """A member that is connected and has asked for these filters."""
        access = self.access(name)
        options = replace(access.options, backoff=BackoffPolicy(first_s=0.02, longest_s=0.1))
        link = MqttLink(
            access.address, client_id or f"{FEDERATION}.{name}", will=will, options=options
        )
        self._closing.callback(link.close, timeout_s=0.0)
        for topic_filter in filters:
            link.subscribe(topic_filter)
        link.start()
        link.wait_until_up(PATIENCE_S)
        ear = Ear(link)
        while not isinstance(link.poll(0.1), LinkUp):
            pass
        return ear
