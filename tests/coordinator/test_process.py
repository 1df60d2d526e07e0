"""The coordinator from its configuration file on: as a function, and as a real process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from exposition import scrape
from identities import key_of, signed
from tiny_bundle import make_bundle

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.process import check_coordinator, run_coordinator
from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_protocol import (
    Accepted,
    Command,
    ConfigurationError,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Grant,
    Group,
    LocalReport,
    OperationError,
    OperatorAnswer,
    OperatorRequest,
    Pause,
    Presence,
    Resume,
    RoundAnnouncement,
    SharedCodec,
    Topics,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    open_message,
    seal_tensors,
    write_bundle,
)
from pfedfrz_storage import lock_directory, save_signing_key
from pfedfrz_transport import BrokerAddress, BrokerUnreachable, Message, MqttLink

BUNDLE = make_bundle()
TOPICS = Topics("lab")
PATIENCE_S = 30.0
Kind = TypeVar("Kind")


def configure(tmp_path: Path, *lines: str) -> Path:
    """A configuration file, with its bundle, in which later lines follow the first ones."""
    (tmp_path / "m.pfz").write_bytes(write_bundle(BUNDLE.manifest, BUNDLE.files))
    path = tmp_path / "coordinator.toml"
    first = ['federation = "lab"', 'bundle = "m.pfz"', 'state_dir = "state"']
    path.write_text("\n".join([*first, *lines]) + "\n")
    return path


def message(configuration: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        run_coordinator(configuration)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "none.toml: cannot be read" in message(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("broekr = 1", "broekr"),
        ("[rounds", "not TOML"),
        ("connect_timeout_s = inf", "connect_timeout_s = inf"),
        ("[rounds]\ndeadline_s = inf", "deadline_s = inf"),
        ("[rounds]\nquorum = 2", "quorum = 2"),
        ("[validation]\nmax_samples = 0", "max_samples = 0"),
        ('aggregation = "krumm"', "krumm"),
        ('broker = "http://here"', "http://here"),
    ],
)
def test_a_fault_in_the_file_is_one_line_and_makes_no_state(
    tmp_path: Path, line: str, says: str
) -> None:
    assert says in message(configure(tmp_path, line))
    assert not (tmp_path / "state").exists()


def test_a_federation_that_can_be_no_topic_is_said_with_the_file(tmp_path: Path) -> None:
    path = configure(tmp_path)
    path.write_text(path.read_text().replace('"lab"', '"la/b"'))
    assert message(path).startswith(f"{path}: federation 'la/b'")


def test_a_missing_or_damaged_bundle_is_said(tmp_path: Path) -> None:
    path = configure(tmp_path)
    content = bytearray((tmp_path / "m.pfz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.pfz").write_bytes(content)
    assert "m.pfz: " in message(path)
    (tmp_path / "m.pfz").unlink()
    assert "m.pfz: cannot be read" in message(path)


def test_a_check_reads_what_a_start_reads_and_writes_nothing(tmp_path: Path) -> None:
    path = configure(tmp_path, 'key_file = "coordinator.key"')
    with pytest.raises(OperationError, match="cannot read the key"):
        check_coordinator(path)
    save_signing_key(tmp_path / "coordinator.key", key_of("coordinator"))
    assert check_coordinator(path).key_path == tmp_path / "coordinator.key"
    assert not (tmp_path / "state").exists()
    (tmp_path / "m.pfz").write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match=r"m\.pfz: "):
        check_coordinator(path)


def test_a_broker_that_does_not_answer_is_said_in_time(tmp_path: Path) -> None:
    path = configure(tmp_path, 'broker = "mqtt://127.0.0.1:1"', "connect_timeout_s = 0.3")
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
            run_coordinator(path)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# A real process on a real broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with start_broker("auto", tmp_path_factory.mktemp("broker")) as running:
        yield running


class Device:
    """A device by hand."""

    def __init__(self, broker: RunningBroker, name: str) -> None:
        self.name = name
        self.link = MqttLink(BrokerAddress.parse(broker.url), name)
        self.codec = SharedCodec.for_manifest(BUNDLE.manifest)
        self.received: list[object] = []
        for topic in (TOPICS.round, TOPICS.coordinator_status, TOPICS.device(name, "command")):
            self.link.subscribe(topic)
        digest, key = BUNDLE.manifest.digest, key_of(name).public
        status = DeviceStatus(Presence.ONLINE, "boot", digest, "onnxruntime", 10, key)
        topic = TOPICS.device(name, "status")
        self.link.publish_retained(topic, signed(status, topic, name))
        self.link.start()
        self.link.wait_until_up(PATIENCE_S)

    def expect(self, kind: type[Kind]) -> Kind:
        """The next message of that kind; those before it are dropped."""
        kinds = {TOPICS.round: RoundAnnouncement, TOPICS.coordinator_status: CoordinatorStatus}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            event = self.link.poll(0.1)
            if isinstance(event, Message) and event.payload:
                decoded: object = open_message(
                    event.payload,
                    kinds.get(event.topic, Command),  # type: ignore[arg-type]
                )
                if isinstance(decoded, kind):
                    return decoded
        pytest.fail(f"{self.name}: no {kind.__name__} came")

    def deliver(self, round_: RoundAnnouncement, step: float) -> Accepted:
        start = BUNDLE.initial_weights(Group.SHARED)
        moved = {name: w + np.float32(step) for name, w in start.items()}
        label = UpdateLabel(self.name, "boot", round_.round, 10, round_.model.digest)
        payload = seal_tensors(self.codec.encode(moved, label), key_of(self.name))
        transfer = describe_transfer(payload)
        offer = UpdateReady(
            round_.round, round_.epoch, "boot", round_.model.digest, transfer, LocalReport(10)
        )
        topic = TOPICS.device(self.name, "event")
        self.link.publish(topic, signed(offer, topic, self.name))
        self.expect(Grant)
        self.link.publish(TOPICS.update_chunk(self.name, round_.round, 0), payload)
        return self.expect(Accepted)


def start(configuration: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pfedfrz", "coordinator", "--config", str(configuration)],
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """A test that fails leaves no process that it would wait for."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def test_killed_after_an_acknowledgement_it_still_has_the_update_and_ends_the_federation(
    tmp_path: Path, broker: RunningBroker
) -> None:
    configuration = configure(
        tmp_path,
        f'broker = "{broker.url}"',
        "[rounds]\nrounds = 1\nstart_devices = 2\nevaluate = false\ndeadline_s = 60",
    )
    a, b = Device(broker, "a"), Device(broker, "b")
    with start(configuration) as first:
        opened = a.expect(RoundAnnouncement)
        assert opened.selected == ("a", "b")
        assert a.deliver(opened, 1.0) == Accepted(1, opened.epoch)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=PATIENCE_S)
    assert first.returncode == -signal.SIGKILL
    while a.expect(CoordinatorStatus).presence is not Presence.OFFLINE:
        pass  # said by the will
    with start(configuration) as second:
        again = b.expect(RoundAnnouncement)
        while again.epoch == opened.epoch:
            again = b.expect(RoundAnnouncement)
        assert (again.round, again.selected) == (1, ("b",))
        assert b.deliver(again, 3.0) == Accepted(1, again.epoch)
        _, log = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, log
    journal = Journal(tmp_path / "state" / "journal.sqlite", read_only=True)
    assert {row.device: row.status for row in journal.members(1)} == dict.fromkeys("ab", "accepted")
    journal.close()
    model = Checkpoints(tmp_path / "state" / "models").load(1)
    for name, tensor in BUNDLE.initial_weights(Group.SHARED).items():
        np.testing.assert_allclose(model[name], tensor + 2.0, rtol=1e-6)
    for device in (a, b):
        device.link.clear_retained(TOPICS.device(device.name, "status"))
        device.link.close()


def test_a_running_coordinator_answers_prometheus_until_its_end(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    lines = (f'broker = "{broker.url}"', "[rounds]", "start_devices = 9", "[metrics]")
    configuration = configure(tmp_path, *lines, f'listen = "{listen}"')
    watcher = Device(broker, "watcher")
    with start(configuration) as process:
        while watcher.expect(CoordinatorStatus).presence is not Presence.ONLINE:
            pass
        deadline = time.monotonic() + PATIENCE_S
        while not (found := scrape(f"http://{listen}/metrics")).value("broker_connected"):
            assert time.monotonic() < deadline
        facts = {"federation": "lab", "aggregation": "mean", "bundle": BUNDLE.manifest.digest}
        assert found.value("federation_info", **facts) == 1
        assert found.value("state", state="waiting") == 1
        assert found.samples["process_resident_memory_bytes", ()] > 1e6
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    with pytest.raises(OSError, match="refused"):
        scrape(f"http://{listen}/metrics")
    watcher.link.clear_retained(TOPICS.device("watcher", "status"))
    watcher.link.close()


def test_a_port_for_prometheus_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        text = message(configure(tmp_path, "[metrics]", f'listen = "{listen}"'))
    assert f'[metrics] listen = "{listen}": Address already in use' in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_says_goodbye_and_leaves_nothing_half_done(
    tmp_path: Path, broker: RunningBroker, number: signal.Signals
) -> None:
    configuration = configure(tmp_path, f'broker = "{broker.url}"', "[rounds]\nstart_devices = 9")
    watcher = Device(broker, "watcher")
    with start(configuration) as process:
        while watcher.expect(CoordinatorStatus).presence is not Presence.ONLINE:
            pass
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in log
    assert process.returncode == 0, log
    while watcher.expect(CoordinatorStatus).presence is not Presence.OFFLINE:
        pass
    assert not list((tmp_path / "state").rglob("*.partial-*"))
    watcher.link.clear_retained(TOPICS.device("watcher", "status"))
    watcher.link.close()


def test_killed_after_it_answered_a_pause_it_is_paused_when_it_is_back(
    tmp_path: Path, broker: RunningBroker
) -> None:
    (tmp_path / "operators.toml").write_text(f'[operators]\nanna = "{key_of("anna").public}"\n')
    configuration = configure(
        tmp_path,
        f'broker = "{broker.url}"',
        'operators = "operators.toml"',
        "[rounds]\nstart_devices = 1",
    )
    asked, answered = (TOPICS.operator("anna", leaf) for leaf in ("request", "answer"))
    anna = MqttLink(BrokerAddress.parse(broker.url), "anna")
    for topic in (TOPICS.coordinator_status, TOPICS.control, answered):
        anna.subscribe(topic)
    anna.start()

    latest: dict[str, bytes] = {}

    def until(topic: str, kind: type[Kind], fits: Callable[[Kind], bool]) -> Kind:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if topic in latest and fits(found := open_message(latest[topic], kind)):
                return found
            event = anna.poll(0.1)
            if isinstance(event, Message):
                latest[event.topic] = event.payload
        pytest.fail(f"nothing that fits came on {topic}, but {latest}")

    def start_epoch(after: int = 0) -> int:
        return until(
            TOPICS.coordinator_status,
            CoordinatorStatus,
            lambda status: status.presence is Presence.ONLINE and status.epoch > after,
        ).epoch

    def answer(payload: bytes) -> OperatorAnswer:
        latest.pop(answered, None)
        anna.publish(asked, payload)
        return until(answered, OperatorAnswer, lambda _: True)

    with start(configuration) as first, ended(first):
        epoch = start_epoch()
        request = signed(OperatorRequest(epoch, 1, Pause()), asked, "anna")
        paused = answer(request)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=PATIENCE_S)
    assert paused.done
    with start(configuration) as second, ended(second):
        epoch = start_epoch(epoch)
        until(
            TOPICS.control,
            Control,
            lambda said: (said.epoch, said.desired) == (epoch, DesiredState.PAUSE),
        )
        # The pause of before is nothing to this life; the resume is.
        assert answer(request).detail.startswith("asked before the coordinator's restart")
        assert answer(signed(OperatorRequest(epoch, 1, Resume()), asked, "anna")).done
        second.send_signal(signal.SIGTERM)
        _, log = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, log
    assert "paused: no round is opened" in log
    anna.close()


def test_two_coordinators_on_one_state_directory_are_refused(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "state"):
        assert "in use by another process" in message(configure(tmp_path))
