"""Mosquitto with the generated configuration, as a process: whose it is, and after kill -9."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from provisioned_lab import PATIENCE_S, Lab

from pfedfrz_emulator.brokers import find_mosquitto
from pfedfrz_protocol import Topics
from pfedfrz_provision import Accounts, Request, provision

TOPICS = Topics("lab")
A = "device-00"
OWN = pwd.getpwuid(os.geteuid()).pw_name
# Only root can start a broker that becomes another user; anybody else tests with its own name.
BROKER_USER = "nobody" if os.geteuid() == 0 else OWN


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can look into; pytest's own is for its owner only."""
    path = Path(tempfile.mkdtemp(prefix="pfedfrz-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def user_of(pid: int) -> str:
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


@pytest.mark.parametrize("accounts", list(Accounts), ids=lambda accounts: accounts.value)
def test_a_broker_of_another_user_reads_its_files_and_no_others(
    reachable: Path, accounts: Accounts
) -> None:
    with Lab(reachable / "lab", accounts, broker_user=BROKER_USER) as lab:
        assert user_of(lab.pid) == BROKER_USER
        coordinator = lab.join("coordinator", TOPICS.every_device("event"))
        device = lab.join(A, TOPICS.control)
        coordinator.link.publish_retained(TOPICS.control, b"1")
        device.until(TOPICS.control, b"1")
        # What is written later is the broker's own as well.
        provision(lab.directory, Request(names=("kitchen",)))
        lab.reload()
        lab.join("kitchen", TOPICS.control).until(TOPICS.control, b"1")
    for path in (lab.directory / "broker").iterdir():
        assert path.owner() == BROKER_USER
    others = ("authority", "coordinator", "devices", "monitor")
    assert {(lab.directory / name).owner() for name in others} == {OWN}


def test_a_file_is_the_broker_s_own_before_it_is_in_place(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reloaded between the two, Mosquitto 2.0.11 would go on without an access list."""
    lab = Lab(reachable / "lab", Accounts.PASSWORD, broker_user=BROKER_USER)
    owners: dict[str, str] = {}
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        owners[str(target.relative_to(lab.directory))] = self.owner()
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    provision(lab.directory, Request(names=("kitchen",)))
    assert owners["broker/access.acl"] == owners["broker/passwords"] == BROKER_USER
    assert owners["devices/kitchen/device.key"] == OWN


def test_a_broker_that_cannot_read_its_files_does_not_start_open(reachable: Path) -> None:
    """A broker without its access list must be no broker."""
    lab = Lab(reachable / "lab", Accounts.PASSWORD)
    mosquitto = find_mosquitto()
    assert mosquitto is not None
    for name in ("access.acl", "passwords", "server.key"):
        hidden = lab.directory / "broker" / f"{name}.hidden"
        path = (lab.directory / "broker" / name).rename(hidden)
        done = subprocess.run(
            [mosquitto, "-c", lab.directory / "broker" / "mosquitto.conf"],
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode != 0, name
        path.rename(lab.directory / "broker" / name)


def test_after_a_kill_everybody_is_back_with_what_holds(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", Accounts.PASSWORD) as lab:
        coordinator = lab.join("coordinator", TOPICS.every_device("event"))
        device = lab.join(A, TOPICS.control)
        coordinator.link.publish_retained(TOPICS.control, b"1")
        device.until(TOPICS.control, b"1")
        lab.stop(signal.SIGKILL)
        coordinator.until_down()
        device.until_down()
        device.heard.clear()
        lab.start()
        # What a killed broker knew of sessions is gone: who is back first finds nobody to hear it.
        assert coordinator.link.wait_until_up(PATIENCE_S)
        coordinator.link.publish_retained(TOPICS.control, b"2")
        device.until(TOPICS.control, b"2")
        device.link.publish(TOPICS.device(A, "event"), b"said to whoever is back")
        coordinator.until(TOPICS.device(A, "event"), b"said to whoever is back")
        monitor = lab.join("monitor", TOPICS.everything)
        monitor.until(TOPICS.control, b"2")


def test_a_clean_end_keeps_the_sessions_on_the_disk(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", Accounts.PASSWORD) as lab:
        coordinator = lab.join("coordinator")
        coordinator.link.publish_retained(TOPICS.control, b"1")
        device = lab.join(A, TOPICS.control)
        device.until(TOPICS.control, b"1")
        coordinator.link.close(timeout_s=2.0)
        lab.stop(signal.SIGTERM)
        database = lab.directory / "broker" / "mosquitto.db"
        deadline = time.monotonic() + PATIENCE_S
        while not database.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert database.stat().st_mode & 0o077 == 0
        lab.start()
        lab.join("monitor", TOPICS.everything).until(TOPICS.control, b"1")
