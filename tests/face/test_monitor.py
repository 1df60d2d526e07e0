"""`pfedfrz monitor`, as a person calls it, on a real broker."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from called_command import Call
from federation_messages import DIGEST
from identities import COORDINATOR, key_of, signed

from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_protocol import (
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Presence,
    Topics,
)
from pfedfrz_transport import MqttLink

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with start_broker("mosquitto", tmp_path_factory.mktemp("broker")) as running:
        yield running


class Federation:
    """A coordinator and its devices, by hand."""

    def __init__(self, broker: RunningBroker, name: str) -> None:
        self.topics = Topics(name)
        self.link = MqttLink(broker.address, f"{name}-by-hand")
        self.link.start()
        self.link.wait_until_up(PATIENCE_S)
        key = key_of(COORDINATOR).public
        self._say(
            self.topics.coordinator_status, CoordinatorStatus(Presence.ONLINE, DIGEST, 1, key)
        )
        self._say(self.topics.control, Control(DesiredState.RUN, 1))

    def _say(self, topic: str, message: object, name: str = COORDINATOR) -> None:
        self.link.publish_retained(topic, signed(message, topic, name))  # type: ignore[arg-type]

    def device(self, name: str, presence: Presence) -> None:
        status = DeviceStatus(presence, "boot", DIGEST, "torch", 60, key_of(name).public)
        self._say(self.topics.device(name, "status"), status, name)

    def end(self) -> None:
        self.link.clear_retained(self.topics.coordinator_status)
        self.link.close()


@pytest.fixture
def lab(broker: RunningBroker) -> Iterator[Federation]:
    federation = Federation(broker, "lab")
    yield federation
    federation.end()


def monitor(broker: RunningBroker, *options: str) -> list[str]:
    return [sys.executable, "-m", "pfedfrz", "monitor", "--broker", broker.url, *options]


def test_lines_come_as_things_happen_and_end_with_their_reader(
    broker: RunningBroker, lab: Federation
) -> None:
    process = subprocess.Popen(
        monitor(broker, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = json.loads(process.stdout.readline())
        assert (first["federation"], first["state"]) == ("lab", "running"), "the only one here"
        lab.device("a", Presence.ONLINE)
        assert json.loads(process.stdout.readline())["text"] == "a: online"
        process.stdout.close()
        lab.device("a", Presence.OFFLINE)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_screen_ends_with_the_connection_that_it_is_seen_through(
    broker: RunningBroker, lab: Federation
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", PYTHONIOENCODING="utf-8")
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = monitor(broker, "--federation", "lab")
        os.execv(command[0], command)
    try:
        seen = b""
        deadline = time.monotonic() + PATIENCE_S
        while b"running" not in seen and select.select([terminal], [], [], PATIENCE_S)[0]:
            seen += os.read(terminal, 65536)
        assert b"running" in seen
        os.close(terminal)  # sshd does this when the connection is cut
        while time.monotonic() < deadline:
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                return
            time.sleep(0.02)
        pytest.fail("it goes on without a terminal")
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_without_a_name_there_must_be_one_federation(
    broker: RunningBroker, lab: Federation, pfedfrz: Call
) -> None:
    shop = Federation(broker, "shop")
    try:
        said = pfedfrz("monitor", "--plain", "--broker", broker.url)
    finally:
        shop.end()
    assert said.code == 2
    assert said.error.endswith("give --federation with one of lab, shop")


def test_an_empty_broker_is_told(broker: RunningBroker, pfedfrz: Call) -> None:
    said = pfedfrz("monitor", "--plain", "--broker", broker.url)
    assert said.code == 2
    assert "no federation is to be seen on" in said.error
    assert "give --federation NAME" in said.error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--web", "--json"), "--web and --plain or --json do not go together: choose one"),
        (("--home-assistant", "--web"), "--web and --home-assistant do not go together"),
        (("--replay", ".", "--federation", "lab"), "--federation means nothing there"),
        (("--federation", "lab/#"), "federation 'lab/#' is not usable"),
        (("--federation", "lab", "--operator", "ann"), "operator and operator_key_file belong"),
        (
            ("--federation", "lab", "--home-assistant", "--discovery-prefix", "a/+"),
            "--discovery-prefix 'a/+'",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    pfedfrz: Call, options: tuple[str, ...], said: str
) -> None:
    answer = pfedfrz("monitor", *options)
    assert answer.code == 2
    assert said in answer.error


def test_a_missing_package_is_told_with_what_to_install(
    pfedfrz: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("pfedfrz.commands.monitor._why_no_screen", lambda: "")
    for name in [name for name in sys.modules if name.startswith("pfedfrz_monitor.terminal")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    said = pfedfrz("monitor", "--federation", "lab", "--broker", "mqtt://127.0.0.1:1")
    assert said.code == 2
    assert said.error.endswith("pip install 'pfedfrz[monitor]'")


def test_a_configuration_is_read_and_options_win(
    broker: RunningBroker, lab: Federation, tmp_path: Path
) -> None:
    config = tmp_path / "monitor.toml"
    config.write_text(f'federation = "other"\nbroker = "{broker.url}"\n[labels]\na = "kitchen"\n')
    lab.device("a", Presence.ONLINE)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pfedfrz", "monitor"),
            *("--config", str(config), "--federation", "lab"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "lab: running" in process.stdout.readline(), "plain: this is no terminal"
        lab.device("a", Presence.OFFLINE)
        assert process.stdout.readline().endswith("a (kitchen): offline\n")
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out, err) == ("", "\ninterrupted; nothing is left running\n")
    assert process.returncode == 130
