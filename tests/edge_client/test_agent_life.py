"""A real device begins, is interrupted, and ends."""

import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest
from device_lab import PATIENCE_S, TOPICS, Device, Lab
from identities import identity_of

from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_edge.publisher import device_will
from pfedfrz_protocol import (
    DesiredState,
    DeviceStatus,
    Group,
    OperationError,
    Presence,
    open_message,
)
from pfedfrz_transport import BrokerUnreachable, ServiceManager


def test_interrupted_in_the_middle_of_training_it_ends_and_says_goodbye(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached = threading.Event()

    def slowly(step: int) -> None:
        reached.set()
        time.sleep(0.05)

    device.runtime.hook = slowly
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 2
    steps = device.runtime.steps
    time.sleep(0.15)
    assert device.runtime.steps == steps
    assert lab.status().presence is Presence.OFFLINE


def test_a_device_that_vanishes_is_said_to_be_offline_by_its_will(lab: Lab) -> None:
    will = device_will(lab.settings, lab.bundle, "boot-1", identity_of("me"))
    assert will.retain
    assert will.delay_s > 0
    assert will.topic == TOPICS.device("me", "status")
    status = open_message(will.payload, DeviceStatus)
    assert (status.presence, status.boot_id) == (Presence.OFFLINE, "boot-1")


def test_weights_that_cannot_be_read_are_said_before_anything_is_published(lab: Lab) -> None:
    PersonalStore(lab.disk, lab.bundle.manifest.digest).save(
        StoredPersonal(lab.bundle.initial_weights(Group.PERSONAL), 1, 0)
    )
    (path,) = lab.disk.iterdir()
    path.write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(OperationError, match="restore them"):
            Device(lab, "boot-1")
    assert lab.broker.captured == []


def test_a_broker_that_does_not_answer_is_said_in_time(lab: Lab) -> None:
    lab.broker.stop()
    lab.settings = msgspec.structs.replace(lab.settings, connect_timeout_s=0.1)
    with pytest.raises(BrokerUnreachable):
        Device(lab, "boot-1").agent.run()


def test_interrupted_while_it_waits_for_the_broker_it_ends_at_once(lab: Lab) -> None:
    lab.broker.stop()
    lab.settings = msgspec.structs.replace(lab.settings, connect_timeout_s=300.0)
    device = lab.device()
    time.sleep(0.1)
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 5


def test_the_end_of_an_earlier_run_does_not_end_it_and_that_of_its_own_does(lab: Lab) -> None:
    coordinator = lab.coordinator
    coordinator.control(DesiredState.STOP)
    device = lab.device()
    lab.wait_for_state("idle")
    coordinator.quiet()
    assert device.alive
    coordinator.control(DesiredState.RUN)
    coordinator.open(1)
    coordinator.settle(1)
    coordinator.control(DesiredState.STOP)
    device.thread.join(PATIENCE_S)
    assert not device.alive


def test_the_end_is_heard_by_a_device_that_was_away_from_the_broker(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.control(DesiredState.RUN)
    lab.wait_for_state("idle")
    lab.broker.drop("me", stay_away=True)
    coordinator.control(DesiredState.STOP)
    lab.broker.let_in("me")
    device.thread.join(PATIENCE_S)
    assert not device.alive


def test_when_the_federation_is_over_a_patient_device_waits_for_the_next(lab: Lab) -> None:
    lab.settings = msgspec.structs.replace(lab.settings, exit_when_stopped=False)
    coordinator, device = lab.coordinator, lab.device()
    coordinator.control(DesiredState.STOP)
    coordinator.quiet()
    assert device.alive
    coordinator.control(DesiredState.RUN)
    coordinator.open(1)
    coordinator.settle(1)


def test_systemd_hears_ready_once_and_the_watchdog_only_while_the_loop_turns(
    lab: Lab, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000"}
        life = Device(lab, "boot-1")
        life.agent = DeviceAgent(
            # Without the notice of systemd this loop would wait for its heartbeat.
            msgspec.structs.replace(lab.settings, heartbeat_s=3600.0),
            lab.bundle,
            life.runtime,
            lab.data,
            life.link,
            "boot-1",
            identity_of("me"),
            manager=ServiceManager(told),
        )
        life.thread = threading.Thread(target=life.agent.run, daemon=True)
        lab.devices.append(life.start())
        heard: list[str] = []
        while heard.count("WATCHDOG=1") < 3 or "STATUS=connected; round 0: idle" not in heard:
            heard += systemd.recv(4096).decode().split("\n")
        assert heard.count("READY=1") == 1
        life.stop()
        while "STOPPING=1" not in heard:
            heard += systemd.recv(4096).decode().split("\n")
        systemd.settimeout(0.1)
        with pytest.raises(TimeoutError):
            systemd.recv(4096)
