"""A small fleet, prepared once, and real runs of it over each kind of link."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tomli_w
from emulated_runs import ROUNDS, FinishedRun, everything_logged, final_shared
from provisioned_lab import FEDERATION, Lab

from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet import Fleet
from pfedfrz_emulator.fleet_files import FleetFiles, write_fleet_files
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet
from pfedfrz_protocol import Encoding, write_bundle
from pfedfrz_provision import Accounts
from pfedfrz_transport import (
    BrokerAccess,
    BrokerAddress,
    LinkLimits,
    Message,
    MqttLink,
    MqttOptions,
)

_PATIENCE_S = 90.0


@pytest.fixture(scope="session")
def small_fleet() -> PreparedFleet:
    """Four devices, one of them an attacker, trained by pFedFrz with the default settings."""
    return prepare_fleet(
        Experiment(
            dataset="digits",
            model="cnn-small",
            alpha=1.0,
            devices=4,
            attackers=1,
            rounds=ROUNDS,
            samples=70,
            test_per_class=5,
        )
    )


def _benign_part(fleet: PreparedFleet, count: int, encoding: Encoding) -> PreparedFleet:
    """So many devices of it, none of them an attacker."""
    experiment = msgspec.structs.replace(
        fleet.experiment, devices=count, attackers=0, encoding=encoding
    )
    devices = tuple(device for device in fleet.devices if not device.attacker)[:count]
    return replace(fleet, experiment=experiment, devices=devices)


@pytest.fixture(scope="session")
def memory_run(small_fleet: PreparedFleet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The fleet over the in-memory link."""
    return _run_in_memory(small_fleet, tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="session")
def float32_run(
    small_fleet: PreparedFleet, tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    """Two devices that send whole weights, over the in-memory link."""
    fleet = _benign_part(small_fleet, 2, Encoding.FLOAT32)
    return _run_in_memory(fleet, tmp_path_factory.mktemp("float32"))


@pytest.fixture(scope="session")
def int8_run(small_fleet: PreparedFleet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Two devices that send differences in 8 bits, over the in-memory link."""
    fleet = _benign_part(small_fleet, 2, Encoding.DELTA_INT8)
    return _run_in_memory(fleet, tmp_path_factory.mktemp("int8"))


def _run_in_memory(prepared: PreparedFleet, directory: Path) -> FinishedRun:
    fleet = MemoryFleet(prepared, directory)
    with everything_logged() as log:
        fleet.run()
    return FinishedRun(
        prepared,
        directory,
        final_shared(directory),
        tuple((message.topic, message.payload) for message in fleet.broker.captured),
        fleet.federation,
        {device.name: prepared.experiment.encoding for device in prepared.devices},
        log.getvalue().encode(),
    )


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A real broker on loopback: Mosquitto where it is installed."""
    with start_broker("auto", tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="session")
def mqtt_run(small_fleet: PreparedFleet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The fleet as processes over a real broker, with a subscriber that takes every message.

    The broker is this run's own: every message on it is the run's.
    """
    directory = tmp_path_factory.mktemp("mqtt")
    with start_broker("auto", tmp_path_factory.mktemp("mqtt-broker")) as broker:
        files = write_fleet_files(small_fleet, directory, "captured", broker.url)
        access = BrokerAccess(BrokerAddress.parse(broker.url), MqttOptions())
        messages = _run_and_listen(small_fleet, files, access)
    return FinishedRun(
        small_fleet,
        directory,
        final_shared(directory),
        messages,
        "captured",
        {device.name: small_fleet.experiment.encoding for device in small_fleet.devices},
        b"".join(path.read_bytes() for path in sorted((directory / "logs").iterdir())),
    )


@dataclass(frozen=True)
class _ProvisionedFiles(FleetFiles):
    """The files that `pfedfrz provision` wrote."""

    @property
    def coordinator(self) -> Path:
        return self.directory / "coordinator" / "coordinator.toml"

    def device(self, name: str) -> Path:
        return self.directory / "devices" / name / "device.toml"

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"


@pytest.fixture(scope="session")
def tls_run(small_fleet: PreparedFleet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A provisioned fleet over TLS, whose devices each write their updates in another encoding.

    The subscriber has an account of its own that may read all there is.
    """
    fleet = _benign_part(small_fleet, len(Encoding), Encoding.FLOAT32)
    directory = tmp_path_factory.mktemp("tls")
    bundle = directory / "model.pfz"
    bundle.write_bytes(write_bundle(fleet.bundle.manifest, fleet.bundle.files))
    names = tuple(device.name for device in fleet.devices)
    encodings = dict(zip(names, cycle(Encoding), strict=False))
    with ExitStack() as stack:
        lab = Lab(directory / "fleet", Accounts.PASSWORD, devices=names, bundle=bundle)
        access = lab.admit_spy()
        files = _ProvisionedFiles(lab.directory, FEDERATION)
        (lab.directory / "logs").mkdir()
        _change(files.coordinator, rounds={"rounds": ROUNDS, "start_devices": len(names)})
        for device in fleet.devices:
            data, folder = {"train": "train.npz", "test": "test.npz"}, lab.folder(device.name)
            np.savez(folder / "train.npz", x=device.train_x, y=device.train_y)
            np.savez(folder / "test.npz", x=fleet.test_inputs(device), y=fleet.test_y)
            encoding = encodings[device.name].value
            _change(files.device(device.name), encoding=encoding, exit_when_stopped=True, data=data)
        stack.enter_context(lab)
        messages = _run_and_listen(fleet, files, access)
    logs = [*sorted((lab.directory / "logs").iterdir()), lab.log]
    return FinishedRun(
        fleet,
        lab.directory,
        final_shared(lab.directory),
        messages,
        FEDERATION,
        encodings,
        b"".join(path.read_bytes() for path in logs),
    )


def _change(file: Path, **values: object) -> None:
    content = msgspec.toml.decode(file.read_bytes(), type=dict[str, object])
    file.write_text(tomli_w.dumps({**content, **values}))


def _run_and_listen(
    fleet: PreparedFleet, files: FleetFiles, access: BrokerAccess
) -> tuple[tuple[str, bytes], ...]:
    """Every message on the broker in a whole run."""
    options = replace(
        access.options, receive_maximum=1000, limits=LinkLimits(inbox_messages=50_000)
    )
    listener = MqttLink(access.address, "listener", options=options)
    listener.subscribe("#")
    listener.start()
    listener.wait_until_up(10)
    messages: list[tuple[str, bytes]] = []

    def take(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            event = listener.poll(left)
            if isinstance(event, Message):
                messages.append((event.topic, event.payload))

    deadline = time.monotonic() + _PATIENCE_S
    with Fleet(fleet, files) as members:
        members.start()
        while not members.is_over():
            assert time.monotonic() < deadline, "the fleet does not finish"
            take(0.2)
    take(0.5)
    listener.close()
    return tuple(messages)
