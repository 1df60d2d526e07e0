"""Workers as real processes on a real Mosquitto: what they make is what one coordinator makes."""

from __future__ import annotations

import getpass
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from identities import key_of, signed
from provisioned_lab import free_port
from tiny_bundle import make_bundle

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.process import run_worker
from pfedfrz_emulator.brokers import RunningBroker, find_mosquitto, start_broker
from pfedfrz_protocol import (
    Accepted,
    Command,
    ConfigurationError,
    DeviceStatus,
    Encoding,
    Grant,
    Group,
    LocalReport,
    Presence,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    SharedCodec,
    Topics,
    UpdateLabel,
    UpdateReady,
    UploadOrder,
    describe_transfer,
    open_message,
    seal_tensors,
    write_bundle,
)
from pfedfrz_storage import lock_directory
from pfedfrz_transport import BrokerAddress, Message, MqttLink

BUNDLE = make_bundle()
CODEC = SharedCodec.for_manifest(BUNDLE.manifest)
TOPICS = Topics("lab")
PATIENCE_S = 30.0
NAMES = tuple("abcdef")
WORKERS = ("w1", "w2")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with start_broker("mosquitto", tmp_path_factory.mktemp("broker")) as running:
        yield running


def configure(directory: Path, broker_url: str, workers: str, rounds: str = "") -> Path:
    directory.mkdir()
    (directory / "m.pfz").write_bytes(write_bundle(BUNDLE.manifest, BUNDLE.files))
    path = directory / "coordinator.toml"
    path.write_text(
        'federation = "lab"\nbundle = "m.pfz"\nstate_dir = "state"\n'
        f'broker = "{broker_url}"\naggregation = "mean:exact=true"\n{workers}\n'
        f"[rounds]\nrounds = 1\nstart_devices = {len(NAMES)}\nevaluate = false\n"
        f"deadline_s = 60\n{rounds}\n"
    )
    return path


@dataclass
class Devices:
    """Devices by hand, over one connection."""

    url: str
    link: MqttLink = field(init=False)
    announced: list[RoundAnnouncement] = field(default_factory=list)
    commands: list[tuple[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = MqttLink(BrokerAddress.parse(self.url), "devices")
        self.link.subscribe(TOPICS.round)
        self.link.subscribe(TOPICS.every_device("command"))
        digest = BUNDLE.manifest.digest
        for name in NAMES:
            status = DeviceStatus(
                Presence.ONLINE, "boot", digest, "onnxruntime", 10, key_of(name).public
            )
            topic = TOPICS.device(name, "status")
            self.link.publish_retained(topic, signed(status, topic, name))
        self.link.start()
        self.link.wait_until_up(PATIENCE_S)

    def until(self, is_there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_there():
            assert time.monotonic() < deadline, f"{what} did not come: {self.commands}"
            event = self.link.poll(0.1)
            if not isinstance(event, Message) or not event.payload:
                continue
            sender = TOPICS.parse_device(event.topic)
            if event.topic == TOPICS.round:
                self.announced.append(open_message(event.payload, RoundAnnouncement))
            elif sender is not None:
                decoded: object = open_message(event.payload, Command)  # type: ignore[arg-type]
                self.commands.append((sender.device, decoded))

    def opened(self, after: int = 0) -> RoundAnnouncement:
        """The newest announcement, of an epoch after that."""
        self.until(lambda: any(a.epoch > after for a in self.announced), "a round")
        return self.announced[-1]

    def payload(
        self, name: str, opened: RoundAnnouncement, encoding: Encoding = Encoding.DELTA_FLOAT16
    ) -> bytes:
        """The same update for the same name and model, whoever collects it."""
        base = BUNDLE.initial_weights(Group.SHARED)
        random = np.random.default_rng(ord(name))
        moved = {
            key: (w + random.normal(0, 10 ** random.uniform(-3, 3), w.shape)).astype(np.float32)
            for key, w in base.items()
        }
        label = UpdateLabel(
            name, "boot", opened.round, int(random.integers(1, 5000)), opened.model.digest
        )
        return seal_tensors(CODEC.encode(moved, label, encoding, base), key_of(name))

    def offer(self, name: str, opened: RoundAnnouncement, payload: bytes) -> None:
        digest = opened.model.digest
        transfer = describe_transfer(payload)
        offer = UpdateReady(opened.round, opened.epoch, "boot", digest, transfer, LocalReport(10))
        topic = TOPICS.device(name, "event")
        self.link.publish(topic, signed(offer, topic, name))

    def said_to(self, name: str, kind: type[object], epoch: int) -> list[object]:
        return [
            c for d, c in self.commands if d == name and isinstance(c, kind) and c.epoch == epoch
        ]  # type: ignore[attr-defined]

    def deliver(
        self, name: str, opened: RoundAnnouncement, encoding: Encoding = Encoding.DELTA_FLOAT16
    ) -> object:
        """Offer and upload an update; the verdict."""
        payload = self.payload(name, opened, encoding)
        self.offer(name, opened, payload)
        self.until(lambda: bool(self.said_to(name, Grant, opened.epoch)), f"a grant for {name}")
        self.link.publish(TOPICS.update_chunk(name, opened.round, 0), payload)
        kinds = (Accepted, Rejected)
        self.until(
            lambda: any(self.said_to(name, k, opened.epoch) for k in kinds), f"{name}'s verdict"
        )
        return next(c for k in kinds for c in self.said_to(name, k, opened.epoch))

    def close(self) -> None:
        for name in NAMES:
            self.link.clear_retained(TOPICS.device(name, "status"))
        for topic in (TOPICS.round, TOPICS.control, TOPICS.coordinator_status, TOPICS.metrics):
            self.link.clear_retained(topic)
        self.link.close()


@dataclass
class Members:
    """The processes of a federation."""

    configuration: Path
    own: dict[str, Path] = field(default_factory=dict)
    """Configuration files of those that have one of their own."""
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """The coordinator, or the worker of that name; a worker is waited for until it listens."""
        role = [name] if name == "coordinator" else ["worker", "--name", name]
        configuration = self.own.get(name, self.configuration)
        log = (self.configuration.parent / f"{name}.log").open("a")
        with log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "pfedfrz", *role, "--config", str(configuration)],
                stderr=log,
                text=True,
            )
        said = self.log(name).count("connected to the broker")
        deadline = time.monotonic() + PATIENCE_S
        while self.log(name).count("connected to the broker") <= said:
            assert self.running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.05)

    def log(self, name: str) -> str:
        return (self.configuration.parent / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)

    def finish(self) -> None:
        """The coordinator ends by itself, then the workers are told to."""
        assert self.running.pop("coordinator").wait(PATIENCE_S) == 0, self.log("coordinator")
        for name, process in list(self.running.items()):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, self.log(name)
            assert "Traceback" not in self.log(name)
            del self.running[name]

    def clear(self) -> None:
        for name in list(self.running):
            self.kill(name)

    @property
    def state(self) -> Path:
        return self.configuration.parent / "state"

    def journal(self) -> Journal:
        return Journal(self.state / "journal.sqlite", read_only=True)

    def holders(self) -> dict[str, str]:
        journal = self.journal()
        found = {device: held.worker for device, held in journal.holdings(1).items()}
        journal.close()
        return found

    def notes(self) -> str:
        journal = self.journal()
        found = "\n".join(journal.notes())
        journal.close()
        return found

    def model(self) -> dict[str, bytes]:
        shared = Checkpoints(self.state / "models").load(1)
        return {name: tensor.tobytes() for name, tensor in shared.items()}


@pytest.fixture
def stage(
    broker: RunningBroker, tmp_path: Path
) -> Iterator[Callable[..., tuple[Members, Devices]]]:
    with ExitStack() as stack:

        def begin(
            name: str = "with-workers",
            workers: str = "[workers]\nenabled = true",
            rounds: str = "",
        ) -> tuple[Members, Devices]:
            members = Members(configure(tmp_path / name, broker.url, workers, rounds))
            stack.callback(members.clear)
            members.start("coordinator")
            if workers:
                for worker in WORKERS:
                    members.start(worker)
            devices = Devices(broker.url)
            stack.callback(devices.close)
            return members, devices

        yield begin


@pytest.fixture(scope="module")
def alone(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The model that one coordinator without workers makes of everybody's updates."""
    members = Members(configure(tmp_path_factory.mktemp("alone") / "alone", broker.url, ""))
    members.start("coordinator")
    devices = Devices(broker.url)
    try:
        opened = devices.opened()
        for name in NAMES:
            assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
        members.finish()
        return members.model()
    finally:
        devices.close()
        members.clear()


def test_two_workers_make_the_model_of_one_coordinator_bit_for_bit(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage()
    opened = devices.opened()
    for name in reversed(NAMES):
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    members.finish()
    assert members.model() == alone
    assert set(members.holders()) == set(NAMES)
    assert set(members.holders().values()) == set(WORKERS)
    assert not list((members.state / "updates").rglob("*.float*"))


def test_a_worker_that_was_killed_still_has_what_was_accepted(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage()
    opened = devices.opened()
    for name in NAMES[:4]:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    assert set(members.holders().values()) == set(WORKERS)
    members.kill("w1")
    for name in NAMES[4:]:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    assert {members.holders()[name] for name in NAMES[4:]} == {"w2"}
    members.start("w1")
    members.finish()
    assert members.model() == alone
    assert members.notes() == ""


def test_a_worker_killed_while_it_receives_costs_a_grant_and_no_update(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage(rounds="grant_timeout_s = 1.5")
    opened = devices.opened()
    devices.offer("a", opened, devices.payload("a", opened))
    devices.until(lambda: bool(devices.said_to("a", Grant, opened.epoch)), "a grant")
    members.kill("w1")
    members.kill("w2")
    members.start("w2")
    devices.commands.clear()
    devices.until(lambda: bool(devices.said_to("a", Grant, opened.epoch)), "another grant")
    for name in NAMES:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    assert set(members.holders().values()) == {"w2"}
    members.finish()
    assert members.model() == alone
    assert "a did not upload in time; asked again" in members.notes()


def test_a_worker_that_stays_away_has_its_devices_asked_again_and_nothing_counts_twice(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage(workers="[workers]\nenabled = true\ncollect_timeout_s = 2")
    opened = devices.opened()
    for name in NAMES[:-1]:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    gone = {name for name, worker in members.holders().items() if worker == "w1"}
    assert gone
    members.kill("w1")
    assert devices.deliver(NAMES[-1], opened) == Accepted(1, opened.epoch)
    again = devices.opened(after=opened.epoch)
    assert (again.round, set(again.selected)) == (1, gone)
    assert set(members.holders()) == set(NAMES) - gone
    for name in sorted(gone):
        assert devices.deliver(name, again) == Accepted(1, again.epoch)
    members.finish()
    assert members.model() == alone
    assert set(members.holders().values()) == {"w2"}
    assert f"worker w1 did not give the sum of {len(gone)} accepted updates" in members.notes()


def test_a_coordinator_that_was_killed_collects_what_its_workers_hold(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage()
    opened = devices.opened()
    for name in NAMES[:-1]:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    members.kill("coordinator")
    members.start("coordinator")
    again = devices.opened(after=opened.epoch)
    assert again.selected == (NAMES[-1],)
    assert devices.deliver(NAMES[-1], again) == Accepted(1, again.epoch)
    members.finish()
    assert members.model() == alone


def test_an_order_that_comes_twice_counts_once(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes], broker: RunningBroker
) -> None:
    members, devices = stage()
    ear = MqttLink(BrokerAddress.parse(broker.url), "ear")
    ear.subscribe(TOPICS.orders)
    ear.start()
    ear.wait_until_up(PATIENCE_S)
    opened = devices.opened()
    orders = dict[str, bytes]()
    for name in NAMES[:-1]:
        payload = devices.payload(name, opened)
        devices.offer(name, opened, payload)
        while name not in orders:
            heard = ear.poll(PATIENCE_S)
            if isinstance(heard, Message):
                orders[open_message(heard.payload, UploadOrder).device] = heard.payload
        # Both workers get it now, whoever had it first, and both hear the chunks.
        for _ in WORKERS:
            ear.publish(TOPICS.orders, orders[name])
        devices.until(
            lambda name=name: len(devices.said_to(name, Grant, opened.epoch)) >= 3,  # type: ignore[misc]
            "three grants",
        )
        devices.link.publish(TOPICS.update_chunk(name, 1, 0), payload)
        devices.until(
            lambda name=name: bool(devices.said_to(name, Accepted, opened.epoch)),  # type: ignore[misc]
            "the verdict",
        )
    deadline = time.monotonic() + PATIENCE_S
    held: dict[str, set[str]] = {}
    while time.monotonic() < deadline and any(len(held.get(w, ())) < 5 for w in WORKERS):
        folders = {w: members.state / "workers" / w / "000000001" for w in WORKERS}
        held = {w: {p.name.split("@")[0] for p in f.glob("?@*")} for w, f in folders.items()}
    assert held == {worker: set(NAMES[:-1]) for worker in WORKERS}
    assert devices.deliver(NAMES[-1], opened) == Accepted(1, opened.epoch)
    members.finish()
    assert members.model() == alone
    ear.close()


def test_what_does_not_pass_is_refused_with_the_worker_s_reason(
    stage: Callable[..., tuple[Members, Devices]],
) -> None:
    members, devices = stage(rounds="quorum = 0.1")
    opened = devices.opened()
    verdict = devices.deliver("a", opened, Encoding.FLOAT32)
    assert isinstance(verdict, Rejected)
    assert verdict.reason is RejectReason.WRONG_TENSORS
    assert "delta-float16" in verdict.detail
    forged = bytearray(devices.payload("b", opened))
    forged[-1] ^= 1
    devices.offer("b", opened, bytes(forged))
    devices.until(lambda: bool(devices.said_to("b", Grant, opened.epoch)), "a grant")
    devices.link.publish(TOPICS.update_chunk("b", 1, 0), bytes(forged))
    devices.until(lambda: bool(devices.said_to("b", Rejected, opened.epoch)), "a verdict")
    (second,) = devices.said_to("b", Rejected, opened.epoch)
    assert isinstance(second, Rejected)
    assert second.reason is RejectReason.WRONG_SIGNATURE
    assert members.holders() == {}


def test_what_a_stranger_says_on_the_topics_of_workers_changes_nothing(
    stage: Callable[..., tuple[Members, Devices]], alone: dict[str, bytes]
) -> None:
    members, devices = stage()
    opened = devices.opened()
    order = UploadOrder(
        1, opened.epoch, opened.bundle, "a", key_of("a").public,
        describe_transfer(b"x"), opened.model,
    )  # fmt: skip
    for payload in (b"", b"{", b"\xff" * 300, signed(order, TOPICS.orders, "a"), b"[" * 100_000):
        devices.link.publish(TOPICS.orders, payload)
        for worker in WORKERS:
            devices.link.publish(TOPICS.worker(worker, "command"), payload)
            devices.link.publish(TOPICS.worker(worker, "event"), payload)
            devices.link.publish(TOPICS.sum_chunk(worker, 1, 0, 0), payload)
    for name in NAMES:
        assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
    members.finish()
    assert members.model() == alone


ACCESS = """
user coordinator
topic read pfedfrz/v1/lab/device/+/status
topic read pfedfrz/v1/lab/device/+/event
topic write pfedfrz/v1/lab/device/+/command
topic write pfedfrz/v1/lab/coordinator/status
topic write pfedfrz/v1/lab/round
topic write pfedfrz/v1/lab/control
topic write pfedfrz/v1/lab/metrics
topic write pfedfrz-bin/v1/lab/model/#
topic write pfedfrz/v1/lab/work/order
topic write pfedfrz/v1/lab/worker/+/command
topic read pfedfrz/v1/lab/worker/+/event
topic read pfedfrz-bin/v1/lab/worker/+/sum/#

user devices
topic readwrite pfedfrz/v1/lab/device/#
topic read pfedfrz/v1/lab/round
topic write pfedfrz-bin/v1/lab/device/#
"""
ACCESS_OF_A_WORKER = """
user {name}
topic read pfedfrz/v1/lab/work/order
topic read pfedfrz/v1/lab/worker/{name}/command
topic read pfedfrz-bin/v1/lab/model/#
topic read pfedfrz-bin/v1/lab/device/+/update/#
topic write pfedfrz/v1/lab/device/+/command
topic write pfedfrz/v1/lab/worker/{name}/event
topic write pfedfrz-bin/v1/lab/worker/{name}/sum/#
"""


def test_the_access_that_the_page_names_is_enough_with_the_account_as_the_session(
    tmp_path: Path, alone: dict[str, bytes]
) -> None:
    port = free_port()
    lists = [ACCESS, *(ACCESS_OF_A_WORKER.format(name=name) for name in WORKERS)]
    (tmp_path / "access.acl").write_text("".join(lists))
    (tmp_path / "access.acl").chmod(0o600)
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n"
        f"user {getpass.getuser()}\nacl_file {tmp_path / 'access.acl'}\n"
    )
    mosquitto = find_mosquitto()
    assert mosquitto is not None
    broker = subprocess.Popen(
        [str(mosquitto), "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL
    )
    url = f"mqtt://{{}}@127.0.0.1:{port}"
    path = configure(tmp_path / "lab", url.format("coordinator"), "[workers]\nenabled = true")
    members = Members(path, {name: path.with_name(f"{name}.toml") for name in WORKERS})
    for name, own in members.own.items():
        own.write_text(path.read_text().replace("coordinator@", f"{name}@"))
    try:
        members.start("coordinator")
        for worker in WORKERS:
            members.start(worker)
        devices = Devices(url.format("devices"))
        opened = devices.opened()
        for name in NAMES:
            assert devices.deliver(name, opened) == Accepted(1, opened.epoch)
        members.finish()
        devices.link.close()
        assert members.model() == alone
        assert set(members.holders().values()) == set(WORKERS)
    finally:
        members.clear()
        broker.terminate()
        broker.wait(PATIENCE_S)


# What stops a worker at once


def refusal(configuration: Path, name: str = "w1") -> str:
    with pytest.raises(ConfigurationError) as caught:
        run_worker(configuration, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_worker_without_the_table_a_name_or_the_key_says_what_to_do(tmp_path: Path) -> None:
    url = "mqtt://127.0.0.1:1"
    assert "`enabled = true`" in refusal(configure(tmp_path / "without", url, ""))
    path = configure(tmp_path / "with", url, "[workers]\nenabled = true")
    assert "worker 'a/b' is not usable" in refusal(path, "a/b")
    assert "copy its key here" in refusal(path)
    assert not (tmp_path / "with" / "state").exists()


def test_two_workers_of_one_name_are_refused(tmp_path: Path) -> None:
    path = configure(tmp_path / "with", "mqtt://127.0.0.1:1", "[workers]\nenabled = true")
    state = tmp_path / "with" / "state"
    state.mkdir(mode=0o700)
    (state / "coordinator.key").write_bytes(key_of("any").to_pem())
    (state / "coordinator.key").chmod(0o600)
    with lock_directory(state / "workers" / "w1"):
        assert "in use by another process" in refusal(path)
