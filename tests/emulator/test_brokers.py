from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfedfrz_emulator import brokers
from pfedfrz_emulator.brokers import RunningBroker, find_mosquitto, has_iotcore, start_broker
from pfedfrz_protocol.errors import ConfigurationError, OperationError
from pfedfrz_transport import BrokerAddress, MqttLink, probe_broker


def need(found: bool, what: str) -> None:
    if found:
        return
    if os.environ.get("PFEDFRZ_FORBID_SKIP") == "1":
        pytest.fail(f"{what} is missing, and PFEDFRZ_FORBID_SKIP=1")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(params=["mosquitto", "iotcore"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of broker that we can start."""
    name = str(request.param)
    need(find_mosquitto() is not None if name == "mosquitto" else has_iotcore(), name)
    return name


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return status != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10.0
    while is_alive(pid):
        assert time.monotonic() < deadline, "the broker outlived its parent"
        time.sleep(0.02)


def listening_addresses(pid: int) -> set[str]:
    """`ADDRESS:PORT`, hexadecimal, of every socket on which a process listens."""
    sockets = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1])
    return found


def test_a_broker_answers_on_loopback_only_and_is_gone_afterwards(
    kind: str, tmp_path: Path
) -> None:
    directory = tmp_path / "a run" / "broker"
    with start_broker(kind, directory) as broker:
        assert broker.name == kind
        assert broker.pid is not None
        assert broker.address.host == "127.0.0.1"
        assert broker.log_path is not None
        assert broker.log_path.parent == directory
        probe_broker(BrokerAddress.parse(broker.url), timeout_s=5.0)
        assert listening_addresses(broker.pid) == {f"0100007F:{broker.address.port:04X}"}
        pid = broker.pid
    assert not is_alive(pid)
    assert not broker.is_running
    broker.stop()


def test_a_broker_may_hold_as_many_connections_as_the_machine_allows(
    kind: str, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with start_broker(kind, tmp_path) as broker:
        (row,) = [
            row
            for row in Path(f"/proc/{broker.pid}/limits").read_text().splitlines()
            if row.startswith("Max open files")
        ]
        allowed = row.split()[3]
        assert allowed == "unlimited" or int(allowed) >= min(hard, 65_536)


def test_a_chunk_of_a_model_passes(kind: str, tmp_path: Path) -> None:
    with start_broker(kind, tmp_path) as broker:
        link = MqttLink(broker.address, "device")
        link.subscribe("model")
        link.start()
        link.wait_until_up(5.0)
        link.publish("model", bytes(256 * 1024))
        assert link.poll(5.0) is not None
        message = link.poll(5.0)
        assert len(getattr(message, "payload", b"")) == 256 * 1024
        link.close()


def test_two_brokers_of_a_kind_run_side_by_side(kind: str, tmp_path: Path) -> None:
    with start_broker(kind, tmp_path / "1") as one, start_broker(kind, tmp_path / "2") as two:
        assert one.address.port != two.address.port
        one.stop()
        probe_broker(two.address, timeout_s=5.0)


def test_a_port_that_is_taken_is_said_even_when_a_broker_answers_there(
    kind: str, tmp_path: Path
) -> None:
    with start_broker(kind, tmp_path / "1") as first:
        with pytest.raises(OperationError, match=r"(?i)address already in use"):
            start_broker(kind, tmp_path / "2", port=first.address.port)
        assert first.is_running


def test_a_port_that_is_taken_in_the_meantime_is_replaced_by_another(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_broker(kind, tmp_path / "1") as first:
        free = brokers._free_port()
        offered = iter([first.address.port, first.address.port, free])
        monkeypatch.setattr(brokers, "_free_port", lambda: next(offered))
        with start_broker(kind, tmp_path / "2") as second:
            assert second.address.port == free


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_broker_dies_with_its_parent(kind: str, tmp_path: Path, number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys, time\n"
            "from pfedfrz_emulator.brokers import start_broker\n"
            "broker = start_broker(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
            "print(broker.pid, flush=True)\n"
            "time.sleep(60)\n",
            kind,
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(number)
    wait_until_gone(pid)


def test_a_broker_that_ignores_the_request_to_end_is_killed(tmp_path: Path, kind: str) -> None:
    broker = start_broker(kind, tmp_path)
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)  # SIGTERM waits until it goes on, which it never does
    began = time.monotonic()
    broker.stop(timeout_s=0.2)
    assert time.monotonic() - began < 3.0
    assert not is_alive(broker.pid)


def test_what_persists_survives_a_restart(tmp_path: Path) -> None:
    need(find_mosquitto() is not None, "mosquitto")
    for expected in (0, 1):
        with start_broker("mosquitto", tmp_path, persist=True) as broker:
            link = MqttLink(broker.address, "device")
            link.subscribe("state")
            link.start()
            link.wait_until_up(5.0)
            assert link.poll(5.0) is not None
            message = link.poll(0.3)
            assert (message is not None) == bool(expected)
            link.publish_retained("state", b"x")
            assert link.close()


def test_auto_prefers_mosquitto_and_falls_back_to_iotcore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(find_mosquitto() is not None, "mosquitto")
    need(has_iotcore(), "iotcore")
    with start_broker("auto", tmp_path / "1") as broker:
        assert broker.name == "mosquitto"
    monkeypatch.setattr(brokers, "find_mosquitto", lambda: None)
    with start_broker("auto", tmp_path / "2") as broker:
        assert broker.name == "iotcore"
    monkeypatch.setattr(brokers, "has_iotcore", lambda: False)
    with pytest.raises(ConfigurationError, match="install mosquitto"):
        start_broker("auto", tmp_path / "3")
    with pytest.raises(ConfigurationError, match="apt-get install mosquitto"):
        start_broker("mosquitto", tmp_path / "3")
    assert not (tmp_path / "3").exists()


def test_mosquitto_is_found_where_distributions_put_it_outside_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executable = tmp_path / "mosquitto"
    executable.touch(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(brokers, "_OUTSIDE_PATH", (str(tmp_path),))
    assert find_mosquitto() == executable
    executable.unlink()
    assert find_mosquitto() is None


def test_a_broker_of_somebody_else_is_used_and_left_running(kind: str, tmp_path: Path) -> None:
    with start_broker(kind, tmp_path / "theirs") as theirs:
        with start_broker(theirs.url, tmp_path / "ours") as used:
            assert used.url == theirs.url
            assert used.pid is None
        assert theirs.is_running
        probe_broker(theirs.address, timeout_s=5.0)
    assert not (tmp_path / "ours").exists()


@contextmanager
def refused_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_broker_that_does_not_answer_is_one_clear_line_without_the_password(
    tmp_path: Path,
) -> None:
    with refused_port() as port, pytest.raises(ConfigurationError) as caught:
        start_broker(f"mqtt://me:s3cret@127.0.0.1:{port}", tmp_path, timeout_s=0.3)
    assert str(caught.value) == (
        f"broker at mqtt://127.0.0.1:{port} does not answer: connection refused; "
        "start it, or check host and port, or use --broker auto"
    )


@pytest.mark.parametrize("preference", ["mosqito", "", "localhost:1883"])
def test_an_unknown_preference_is_refused_with_the_choices(preference: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="auto, mosquitto, iotcore or mqtt://"):
        start_broker(preference, tmp_path)


def test_an_iotcore_that_should_persist_is_refused(tmp_path: Path) -> None:
    need(has_iotcore(), "iotcore")
    with pytest.raises(ConfigurationError, match="nothing on disk"):
        start_broker("iotcore", tmp_path, persist=True)


def test_a_broker_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(find_mosquitto() is not None, "mosquitto")
    monkeypatch.setattr(brokers, "_MOSQUITTO_CONF", brokers._MOSQUITTO_CONF + "nonsense 1\n")
    with pytest.raises(OperationError, match="nonsense") as caught:
        start_broker("mosquitto", tmp_path)
    assert "mosquitto.log" in str(caught.value)


def test_the_account_is_in_the_url_and_in_no_representation() -> None:
    address = BrokerAddress("pi", username="me", password="s3cret")
    broker = RunningBroker(str(address), address)
    assert "s3cret" in broker.url
    assert "s3cret" not in repr(broker) + broker.name


def test_a_killed_broker_starts_again_on_its_port_and_is_stopped_as_before(
    tmp_path: Path, kind: str
) -> None:
    with start_broker(kind, tmp_path) as broker:
        address, before = broker.address, broker.pid
        broker.kill()
        assert not broker.is_running
        broker.start_again()
        assert broker.is_running
        assert (broker.address, broker.pid != before) == (address, True)
        probe_broker(address, timeout_s=5.0)
        pid = broker.pid
    assert not broker.is_running
    assert pid is not None
    assert not is_alive(pid)


def test_somebody_elses_broker_cannot_be_started_again(tmp_path: Path) -> None:
    with start_broker("mosquitto", tmp_path) as broker:
        guest = start_broker(broker.url, tmp_path)
        with pytest.raises(ValueError, match="only a broker that was started here"):
            guest.start_again()
