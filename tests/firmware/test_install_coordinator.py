"""install-coordinator.sh and uninstall-coordinator.sh where no systemd runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from board_root import BoardRoot

pytestmark = pytest.mark.firmware
FLEET = "/media/usb/fleet"


def refused(board: BoardRoot, *arguments: str) -> str:
    before = board.state()
    done = board.script("install-coordinator.sh", *(arguments or (FLEET,)))
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert board.state() == before
    (line,) = done.stderr.splitlines()
    return line


def test_a_second_run_changes_no_file(device: BoardRoot) -> None:
    before = device.stamps()
    done = device.script("install-coordinator.sh", FLEET)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is installed already: nothing was changed" in done.stdout
    assert device.stamps() == before


def test_the_brokers_files_are_its_own_and_the_coordinators_the_coordinators(
    device: BoardRoot,
) -> None:
    for path, whose in (
        ("/etc/pfedfrz/broker", "700 mosquitto"),
        ("/etc/pfedfrz/broker/access.acl", "600 mosquitto"),
        ("/etc/pfedfrz/broker/server.key", "600 mosquitto"),
        ("/etc/pfedfrz/coordinator/password", "600 pfedfrz-coordinator"),
        ("/var/lib/pfedfrz-coordinator/coordinator", "700 pfedfrz-coordinator"),
        ("/var/lib/pfedfrz-coordinator/coordinator/coordinator.key", "600 pfedfrz-coordinator"),
    ):
        assert device.run("stat", "--format=%a %U", path).stdout == f"{whose}\n", path
    # Nothing of the authority, or of another member, came along.
    names = " ".join(device.state())
    assert "ca.key" not in names
    assert "federation.json" not in names


def test_a_broker_for_another_place_is_refused_with_the_command(board: BoardRoot) -> None:
    conf = board.path / FLEET[1:] / "broker/mosquitto.conf"
    said = conf.read_text()
    wanted = "--broker-user mosquitto --broker-directory /etc/pfedfrz/broker"
    for wrong in (
        said.replace("/etc/pfedfrz/broker", "/root/fleet/broker"),
        said.replace("user mosquitto", "user root"),
    ):
        conf.write_text(wrong)
        assert refused(board).endswith(wanted)
    conf.write_text(said.replace("listener 8883", "listener 883"))
    assert "port 883 is for root alone" in refused(board)
    conf.unlink()
    assert "mosquitto.conf is not there" in refused(board)


def test_more_devices_are_let_in_and_edits_of_the_brokers_file_stay(
    device: BoardRoot, tmp_path: Path
) -> None:
    broker = device.path / "etc/pfedfrz/broker"
    conf = broker / "mosquitto.conf"
    conf.write_text(conf.read_text() + "# edited here\n")
    kitchen = ["python", "-m", "pfedfrz", "provision", "fleet", "--device", "kitchen"]
    subprocess.run(kitchen, cwd=device.path / "media/usb", check=True, capture_output=True)
    done = device.script("install-coordinator.sh", FLEET)
    assert done.returncode == 0, done.stderr
    assert "kitchen" in (broker / "access.acl").read_text()
    assert device.run("stat", "--format=%a %U", "/etc/pfedfrz/broker/access.acl").stdout == (
        "600 mosquitto\n"
    )
    assert conf.read_text().endswith("# edited here\n")
    place = device.path / "etc/pfedfrz"
    assert "kitchen" in (place / (place / "coordinator").readlink() / "devices.toml").read_text()


def test_uninstalled_it_keeps_the_journal_and_leaves_the_device_alone(device: BoardRoot) -> None:
    done = device.script("uninstall-coordinator.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is kept, for root alone: journal, models and key" in done.stdout
    assert not (device.path / "etc/pfedfrz/broker").exists()
    assert (device.path / "etc/pfedfrz/device").is_symlink()
    assert device.run("pfedfrz", "--version").returncode == 0
    again = device.script("uninstall-coordinator.sh")
    assert "no coordinator is installed here: nothing was changed" in again.stdout
    assert device.script("install-coordinator.sh", FLEET).returncode == 0
    gone = device.script("uninstall-coordinator.sh", "--journal", "delete")
    assert "/var/lib/pfedfrz-coordinator is deleted" in gone.stdout


BEGIN = """
from pathlib import Path
from pfedfrz_coordinator.state import CoordinatorState
from pfedfrz_storage import read_bundle_file
bundle = read_bundle_file(Path("/etc/pfedfrz/coordinator/model.pfz"))
CoordinatorState(Path("/var/lib/pfedfrz-coordinator/coordinator"), bundle).journal.close()
"""


def test_another_bundle_is_gone_over_to_and_not_just_put_there(
    device: BoardRoot, tmp_path: Path
) -> None:
    as_service = ("runuser", "-u", "pfedfrz-coordinator", "--")
    python = "/opt/pfedfrz-coordinator/current/bin/python"
    begun = device.run(*as_service, python, "-c", BEGIN)
    assert begun.returncode == 0, begun.stderr
    other = tmp_path / "other.pfz"
    export = ("export", "mlp", "--personal", "front", "--epochs", "3", "-o", str(other))
    subprocess.run(["python", "-m", "pfedfrz", *export], check=True)
    (device.path / FLEET[1:] / "coordinator/model.pfz").write_bytes(other.read_bytes())
    assert "with --adopt-bundle" in refused(device)
    done = device.script("install-coordinator.sh", FLEET, "--adopt-bundle")
    assert done.returncode == 0, done.stderr
    state = device.path / "var/lib/pfedfrz-coordinator/coordinator"
    assert list(state.glob("replaced/*/journal.sqlite"))
    assert {path.owner() for path in state.rglob("*")} == {state.owner()}
    again = device.run(*as_service, python, "-c", BEGIN)
    assert (again.returncode, again.stderr) == (0, "")
