"""The device from its configuration file on: as a function, and as a real process."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from changed_bundles import with_changed_graphs
from identities import COORDINATOR, identity_of, key_of, signed

from pfedfrz_edge.bundle_follower import BundleFollower, GoOver
from pfedfrz_edge.bundle_homes import BundleHomes
from pfedfrz_edge.bundle_record import load_record
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.data import LocalData
from pfedfrz_edge.outbox import Outbox
from pfedfrz_edge.process import _Lives, check_device, read_local_data, run_device
from pfedfrz_edge.status import Overview, look_at_device
from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_export import save_bundle
from pfedfrz_protocol import (
    Accepted,
    Bundle,
    BundleOffer,
    BundleRefused,
    ConfigurationError,
    CoordinatorStatus,
    DeviceEvent,
    DeviceStatus,
    Grant,
    Group,
    ModelLabel,
    ModelReference,
    OperationError,
    PhaseProgress,
    Presence,
    Purpose,
    Reassembly,
    RoundAnnouncement,
    SharedCodec,
    Topics,
    UpdateReady,
    describe_transfer,
    open_message,
    open_tensors,
    seal_tensors,
    split_chunks,
    tensors_digest,
    write_bundle,
)
from pfedfrz_storage import lock_directory, save_signing_key
from pfedfrz_transport import (
    BrokerAddress,
    BrokerUnreachable,
    Message,
    MqttLink,
    ServiceManager,
)

TOPICS = Topics("lab")
PATIENCE_S = 30.0
Kind = TypeVar("Kind")


class Board:
    """A folder with everything that a device needs."""

    def __init__(self, folder: Path, bundle: Bundle, data: LocalData) -> None:
        self.folder = folder
        save_bundle(bundle, folder / "m.pfz")
        np.savez(folder / "train.npz", x=data.train.x, y=data.train.y)
        assert data.test is not None
        np.savez(folder / "test.npz", x=data.test.x, y=data.test.y)

    def configure(self, *lines: str, test: bool = True) -> Path:
        first = ['federation = "lab"', 'device = "me"', 'bundle = "m.pfz"', 'state_dir = "state"']
        tables = ["[data]", 'train = "train.npz"', *(['test = "test.npz"'] if test else [])]
        path = self.folder / "device.toml"
        path.write_text("\n".join([*first, *lines, *tables]) + "\n")
        return path


@pytest.fixture
def board(tmp_path: Path, wide_bundle: Bundle, wide_data: LocalData) -> Board:
    return Board(tmp_path, wide_bundle, wide_data)


def message(configuration: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        run_device(configuration)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_check_reads_what_a_start_reads_and_writes_nothing(board: Board) -> None:
    path = board.configure('key_file = "device.key"')
    with pytest.raises(OperationError, match="cannot read the key"):
        check_device(path)
    save_signing_key(board.folder / "device.key", key_of("me"))
    before = sorted(board.folder.iterdir())
    assert check_device(path).key_path == board.folder / "device.key"
    assert sorted(board.folder.iterdir()) == before
    for name, says in (
        ("m.pfz", "m.pfz: "),
        ("test.npz", "test.npz"),
        ("device.key", "device.key"),
    ):
        content = (board.folder / name).read_bytes()
        (board.folder / name).write_bytes(b"something else")
        with pytest.raises(ConfigurationError, match=re.escape(says)):
            check_device(path)
        (board.folder / name).write_bytes(content)
    (board.folder / "device.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="has mode 0644"):
        check_device(path)


def test_a_check_examines_the_bundle_that_an_update_has_brought(
    board: Board, wide_bundle: Bundle
) -> None:
    path = board.configure()
    broken = with_changed_graphs(wide_bundle, "onnxruntime", lambda graph: graph[::-1])
    archive = write_bundle(broken.manifest, broken.files)
    homes = BundleHomes(board.folder / "state", wide_bundle)
    homes.folder.mkdir(parents=True)
    homes.offered.write_bytes(archive)
    check_device(path)
    homes.install(BundleOffer(5, broken.manifest.digest, describe_transfer(archive)))
    with pytest.raises(ConfigurationError, match="onnxruntime"):
        check_device(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "none.toml: cannot be read" in message(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("broekr = 1", "broekr"),
        ("seed =", "not TOML"),
        ("heartbeat_s = 0", "heartbeat_s = 0"),
        ('runtime = "tflite"', "unknown runtime 'tflite'; the runtimes are: "),
        ('broker = "http://here"', "http://here"),
    ],
)
def test_a_fault_in_the_file_is_one_line_and_makes_no_state(
    board: Board, line: str, says: str
) -> None:
    assert says in message(board.configure(line))
    assert not (board.folder / "state").exists()


def test_a_missing_or_damaged_bundle_is_said(board: Board) -> None:
    path = board.configure()
    content = bytearray((board.folder / "m.pfz").read_bytes())
    content[len(content) // 2] ^= 1
    (board.folder / "m.pfz").write_bytes(content)
    assert "m.pfz: " in message(path)
    (board.folder / "m.pfz").unlink()
    assert "m.pfz: cannot be read" in message(path)


def test_data_that_does_not_fit_the_bundle_is_said(board: Board) -> None:
    np.savez(board.folder / "test.npz", x=np.zeros((3, 7), np.float32), y=np.zeros(3, np.int64))
    assert "test.npz: samples have shape (7,), the bundle's model takes (6,)" in message(
        board.configure()
    )


def test_without_a_test_set_there_is_none(board: Board, wide_bundle: Bundle) -> None:
    settings = load_device_settings(board.configure(test=False))
    data = read_local_data(settings, wide_bundle).latest()
    assert data.test is None
    assert (len(data.train), data.classes) == (40, 3)


def test_a_broker_that_does_not_answer_is_said_in_time(board: Board) -> None:
    path = board.configure('broker = "mqtt://127.0.0.1:1"', "connect_timeout_s = 0.3")
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
            run_device(path)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_state_directory_in_use_is_said_and_left_alone(board: Board) -> None:
    path = board.configure('broker = "mqtt://127.0.0.1:1"', "connect_timeout_s = 0.3")
    state = board.folder / "state"
    with lock_directory(state):
        (state / "pending-update.msgpack.partial-0123abcd").touch()  # of the one that runs
        assert "state is in use by another process; end that one" in message(path)
        assert len(list(state.iterdir())) == 2


def test_a_bundle_that_cannot_be_put_in_place_is_refused_and_the_old_one_goes_on(
    board: Board, wide_bundle: Bundle
) -> None:
    settings = load_device_settings(path := board.configure())
    homes = BundleHomes(board.folder / "state", wide_bundle)
    (board.folder / "state").mkdir()
    offer = BundleOffer(5, "a" * 64, describe_transfer(b"gone"))
    link = MqttLink(BrokerAddress.parse("mqtt://127.0.0.1:1"), "me")
    follower = BundleFollower(settings, path, homes, link, "boot")
    follower.leaving = GoOver(offer)
    assert _Lives(settings, path, identity_of("me"), homes, None, ServiceManager())._go_on(follower)
    assert homes.active == wide_bundle.manifest.digest
    assert "offered.pfz: cannot be read" in homes.refusals["a" * 64].detail
    link.close(timeout_s=0)


# A real process on a real broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with start_broker("auto", tmp_path_factory.mktemp("broker")) as running:
        yield running


class Coordinator:
    """The other side, by hand."""

    def __init__(self, broker: RunningBroker, bundle: Bundle) -> None:
        self.link = MqttLink(BrokerAddress.parse(broker.url), "coordinator")
        self.codec = SharedCodec.for_manifest(bundle.manifest)
        self.shared = bundle.initial_weights(Group.SHARED)
        payload = seal_tensors(self.codec.encode(self.shared, ModelLabel(0)), key_of(COORDINATOR))
        digest = tensors_digest(self.shared)
        self.round = RoundAnnouncement(
            1,
            1,
            bundle.manifest.digest,
            Purpose.TRAIN,
            ModelReference(0, digest, describe_transfer(payload)),
            ("me",),
            60.0,
        )
        self.chunks: list[tuple[int, bytes]] = []
        self.seen: list[object] = []
        for leaf in ("status", "event"):
            self.link.subscribe(TOPICS.every_device(leaf))
        self.link.subscribe(TOPICS.every_update_chunk)
        items = [(TOPICS.model_chunk(0, n), c) for n, c in enumerate(split_chunks(payload))]
        self.link.publish_bulk(items, tag="model", retained=True)
        status = CoordinatorStatus(
            Presence.ONLINE, bundle.manifest.digest, 1, key_of(COORDINATOR).public
        )
        for topic, state in ((TOPICS.coordinator_status, status), (TOPICS.round, self.round)):
            self.link.publish_retained(topic, signed(state, topic, COORDINATOR))
        self.link.start()
        self.link.wait_until_up(PATIENCE_S)

    def take(self) -> object | None:
        """The next status or event of the device, if one comes."""
        event = self.link.poll(0.1)
        if not isinstance(event, Message) or not event.payload:
            return None
        chunk = TOPICS.parse_update_chunk(event.topic)
        if chunk:
            self.chunks.append((chunk[2], event.payload))
            return None
        if event.topic.endswith("/status"):
            return open_message(event.payload, DeviceStatus)
        decoded: object = open_message(event.payload, DeviceEvent)  # type: ignore[arg-type]
        return decoded

    def expect(self, kind: type[Kind]) -> Kind:
        """The next of that kind; everything on the way is added to `seen`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.take()
            if isinstance(found, kind):
                return found
            if found is not None:
                self.seen.append(found)
        pytest.fail(f"no {kind.__name__} came")

    def receive(self, ready: UpdateReady) -> bytes:
        """The upload after a grant."""
        topic = TOPICS.device("me", "command")
        self.link.publish(topic, signed(Grant(1, 1), topic, COORDINATOR))
        reassembly = Reassembly(ready.transfer, self.codec.max_sealed_bytes)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self.chunks:
                payload = reassembly.add(*self.chunks.pop(0))
                if payload is not None:
                    return payload
            self.take()
        pytest.fail("the upload did not come")

    def close(self) -> None:
        self.link.clear_retained(TOPICS.round)
        self.link.clear_retained(TOPICS.coordinator_status)
        self.link.clear_retained(TOPICS.device("me", "status"))
        self.link.drop_bulk("model")
        self.link.close()


@pytest.fixture
def coordinator(broker: RunningBroker, wide_bundle: Bundle) -> Iterator[Coordinator]:
    made = Coordinator(broker, wide_bundle)
    yield made
    made.close()


def start(configuration: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pfedfrz", "device", "--config", str(configuration)],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_with_a_trained_update_it_uploads_it_without_training_again(
    board: Board, broker: RunningBroker, coordinator: Coordinator
) -> None:
    configuration = board.configure(f'broker = "{broker.url}"', 'encoding = "float32"')
    with start(configuration) as first:
        ready = coordinator.expect(UpdateReady)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=PATIENCE_S)
    assert first.returncode == -signal.SIGKILL
    assert any(isinstance(event, PhaseProgress) for event in coordinator.seen)
    coordinator.seen.clear()
    with start(configuration) as second:
        again = coordinator.expect(UpdateReady)
        assert again.boot_id != ready.boot_id
        assert (again.round, again.transfer, again.report) == (1, ready.transfer, ready.report)
        _, tensors = coordinator.codec.decode(open_tensors(coordinator.receive(again)).payload)
        assert tensors_digest(tensors) != tensors_digest(coordinator.shared)
        topic = TOPICS.device("me", "command")
        coordinator.link.publish(topic, signed(Accepted(1, 1), topic, COORDINATOR))
        pending = board.folder / "state" / "pending-update.msgpack"
        deadline = time.monotonic() + PATIENCE_S
        while pending.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second.terminate()
        _, log = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, log
    assert not any(isinstance(event, PhaseProgress) for event in coordinator.seen)
    assert Outbox(board.folder / "state").get() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_while_the_broker_does_not_answer_it_ends_at_once(
    board: Board, number: signal.Signals
) -> None:
    # It takes the connection and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path = board.configure(f'broker = "mqtt://127.0.0.1:{port}"', "connect_timeout_s = 300")
        with start(path) as process:
            server.settimeout(PATIENCE_S)
            connection, _ = server.accept()
            with connection:
                process.send_signal(number)
                began = time.monotonic()
                _, log = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < 10
    assert process.returncode == 0, log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_says_goodbye_and_leaves_nothing_half_done(
    board: Board, broker: RunningBroker, coordinator: Coordinator, number: signal.Signals
) -> None:
    with start(board.configure(f'broker = "{broker.url}"')) as process:
        coordinator.expect(PhaseProgress)
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in log
    assert process.returncode == 0, log
    while coordinator.expect(DeviceStatus).presence is not Presence.OFFLINE:
        pass
    assert not list((board.folder / "state").glob("*.partial-*"))


def test_started_without_a_sample_it_waits_and_takes_part_when_readings_come(
    board: Board, broker: RunningBroker, wide_data: LocalData
) -> None:
    readings = board.folder / "readings.csv"
    readings.write_text("a,b,c,d,e,f,y\n")
    lines = (f'broker = "{broker.url}"', "heartbeat_s = 0.1", "exit_when_stopped = true")
    device_toml = board.configure(*lines, test=False)
    text = device_toml.read_text().replace('"lab"', '"growing"')
    device_toml.write_text(text.replace('"train.npz"', '"csv:readings.csv"\nhold_out = 0.3'))
    coordinator_toml = board.folder / "coordinator.toml"
    coordinator_toml.write_text(
        f'federation = "growing"\nbundle = "m.pfz"\nstate_dir = "c"\nbroker = "{broker.url}"\n'
        "[rounds]\nrounds = 2\nstart_devices = 1\ndeadline_s = 30.0\n"
    )
    run = [sys.executable, "-m", "pfedfrz"]
    watch = MqttLink(BrokerAddress.parse(broker.url), "watch")
    topic = Topics("growing").device("me", "status")
    watch.subscribe(topic)
    watch.start()

    def wait_for_samples(wanted: bool) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            match watch.poll(0.1):
                case Message(_, payload, _):
                    samples = open_message(payload, DeviceStatus).samples
                    if bool(samples) == wanted:
                        return samples
        pytest.fail("no such status came")

    with (
        subprocess.Popen([*run, "coordinator", "--config", str(coordinator_toml)],
                         stderr=subprocess.PIPE, text=True) as coordinating,
        start(device_toml) as device,
    ):  # fmt: skip
        try:
            wait_for_samples(False)
            with readings.open("a") as file:
                for x, y in zip(wide_data.train.x.tolist(), wide_data.train.y, strict=True):
                    file.write(",".join(map(repr, x)) + f",{y}\n")
            assert 0 < wait_for_samples(True) < 40  # a part is held out
            _, said = coordinating.communicate(timeout=PATIENCE_S)
            _, log = device.communicate(timeout=PATIENCE_S)
        finally:
            device.kill()
            coordinating.kill()
            watch.close()
    assert (coordinating.returncode, device.returncode) == (0, 0), said + log
    assert "no samples yet; waiting for the first" in log
    assert "samples to train on, " in log
    assert "Traceback" not in log + said


def test_a_bundle_on_trial_that_cannot_be_loaded_is_left_again_and_that_is_said(
    board: Board, broker: RunningBroker, coordinator: Coordinator, wide_bundle: Bundle
) -> None:
    broken = with_changed_graphs(wide_bundle, "onnxruntime", lambda graph: graph[::-1])
    archive = write_bundle(broken.manifest, broken.files)
    offer = BundleOffer(5, broken.manifest.digest, describe_transfer(archive))
    homes = BundleHomes(board.folder / "state", wide_bundle)
    homes.folder.mkdir(parents=True)
    homes.offered.write_bytes(archive)
    homes.install(offer)
    coordinator.link.publish_retained(TOPICS.bundle, signed(offer, TOPICS.bundle, COORDINATOR))
    key = key_of(COORDINATOR).public
    with start(board.configure(f'broker = "{broker.url}"', f'coordinator_key = "{key}"')) as device:
        refused = coordinator.expect(BundleRefused)
        coordinator.expect(UpdateReady)
        device.terminate()
        _, log = device.communicate(timeout=PATIENCE_S)
    coordinator.link.clear_retained(TOPICS.bundle)
    assert device.returncode == 0, log
    assert refused.detail.startswith("tried, and gone back: onnxruntime")
    assert "going back from the bundle" in log
    record = load_record(board.folder / "state")
    assert record is not None
    assert (record.active, record.on_trial) == (wide_bundle.manifest.digest, False)


def told(configuration: Path) -> Overview:
    return look_at_device(configuration)


def test_a_device_that_waits_says_so_and_its_status_is_seen_while_it_runs_and_after_a_kill(
    board: Board, broker: RunningBroker, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    # Every board is hotter than that; one whose temperature cannot be read waits too.
    conditions = ("heartbeat_s = 0.2", "[conditions]", "hot_c = -50")
    configuration = board.configure(f'broker = "{broker.url}"', *conditions)
    assert told(configuration).process is None
    with start(configuration) as process:
        status = coordinator.expect(DeviceStatus)
        while status.presence is not Presence.WAITING:
            status = coordinator.expect(DeviceStatus)
        assert status.waiting_for.startswith("temperature: ")
        deadline = time.monotonic() + PATIENCE_S
        while (seen := told(configuration)).process is None or seen.process.state != "waiting":
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        assert (seen.running, seen.waiting_for) == (True, status.waiting_for)
        assert (seen.process.process.pid, seen.process.round) == (process.pid, 1)
        assert seen.process.connected
        assert seen.process_memory_bytes
        assert seen.coordinator_key == key_of(COORDINATOR).public
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    after = told(configuration)
    assert after.process is not None
    assert (after.running, after.process.ended_at, after.waiting_for) == (False, None, "")
    assert not any(isinstance(event, PhaseProgress) for event in coordinator.seen)
