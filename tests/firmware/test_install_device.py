"""install-device.sh and uninstall-device.sh on boards where no systemd runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from board_root import BoardRoot, other_wheel

pytestmark = pytest.mark.firmware
DEVICE = "/media/usb/fleet/devices/device-00"
OTHER = "/media/usb/fleet/devices/device-01"
STATE = "var/lib/pfedfrz"


def refused(board: BoardRoot, *arguments: str, **environment: str) -> str:
    """The one line of an installation that changed nothing."""
    before = board.state()
    done = board.script("install-device.sh", *(arguments or (DEVICE,)), **environment)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert board.state() == before
    (line,) = done.stderr.splitlines()
    assert line.startswith("install-device: error: ")
    return line


def test_a_second_run_changes_no_file(device: BoardRoot) -> None:
    before = device.stamps()
    done = device.script("install-device.sh", DEVICE)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == "install-device: device-00 of lab is installed already: nothing was changed\n"
    )
    assert device.stamps() == before


def test_what_is_installed_is_the_boards_packages_alone_and_secrets_are_the_services(
    device: BoardRoot,
) -> None:
    listed = device.run("/opt/pfedfrz/current/bin/python", "-m", "pip", "list").stdout.lower()
    assert "onnxruntime" in listed
    assert not [name for name in ("torch", "onnx ", "matplotlib", "ray") if name in listed]
    for path in ("etc/pfedfrz/device/password", f"{STATE}/device/device.key"):
        found = device.run("stat", "--format=%a %U", f"/{path}").stdout
        assert found == "600 pfedfrz\n", path
    nobody = ["runuser", "-u", "nobody", "--"]
    for path in (f"/{STATE}/device", f"/{STATE}/data", f"/{STATE}/installed-from"):
        assert device.run(*nobody, "cat", path).returncode != 0
        assert (
            "Permission denied" in device.run(*nobody, "ls", f"{path}/").stderr
            or "installed" in path
        )
    said = device.run("pfedfrz", "device", "--check", "--config", "/etc/pfedfrz/device/device.toml")
    assert said.stdout == (
        "device-00 of lab can start\n"
        f"its state: /{STATE}/device\n"
        f"its key: /{STATE}/device/device.key\n"
    )


def test_unfit_boards_are_refused_before_anything_is_changed(board: BoardRoot) -> None:
    release = board.path / "etc/os-release"
    debian = release.read_text()
    release.unlink()
    release.write_text('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11"\n')
    assert "this is Debian GNU/Linux 11: want Debian or Raspberry Pi OS 12 or 13" in refused(board)
    release.write_text("ID=fedora\nVERSION_ID=40\n")
    assert "this is fedora 40: want" in refused(board)
    release.write_text(debian)
    board.replace_command("dpkg", "echo armhf")
    assert "this system is armhf: want a 64-bit one" in refused(board)
    (board.path / "usr/local/sbin/dpkg").unlink()
    board.replace_command("python3.9", 'case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac')
    assert "is Python 3.9: want 3.10 or newer" in refused(board, DEVICE, "--python", "python3.9")
    board.replace_command("bare", 'case "$2" in *venv*) exit 1 ;; esac; exec python3 "$@"')
    assert "apt-get install python3-venv" in refused(board, DEVICE, "--python", "bare")
    assert "there is no python4" in refused(board, DEVICE, "--python", "python4")
    nobody = board.run(
        "runuser", "-u", "nobody", "--", "/media/usb/firmware_scripts/install-device.sh", DEVICE
    )
    assert nobody.stderr.startswith(
        "install-device: error: this changes the system: run it as root"
    )


def test_unfit_folders_are_refused_before_anything_is_changed(board: BoardRoot) -> None:
    assert "which FOLDER?" in refused(board, "--runtime", "onnxruntime")
    assert "/media/usb/fleet/device.toml is not there" in refused(board, "/media/usb/fleet")
    assert "nowhere is no folder" in refused(board, "nowhere")
    folder = board.path / DEVICE[1:]
    for name, key in (
        ("device.key", "key_file"),
        ("password", "password_file"),
        ("model.pfz", "bundle"),
        ("ca.pem", "ca_file"),
        ("train.npz", "train"),
    ):
        (folder / name).rename(folder / "away")
        assert f'{key} = "{name}" is not in {DEVICE}: put it there' in refused(board)
        (folder / "away").rename(folder / name)
    assert 'says runtime = "onnxruntime": change it there' in refused(
        board, DEVICE, "--runtime", "torch"
    )
    toml = folder / "device.toml"
    said = toml.read_text()
    toml.write_text(said.replace('state_dir = "state"', 'state_dir = "/data"'))
    assert 'state_dir = "/data": want "state", which becomes /var/lib/pfedfrz/device' in refused(
        board
    )
    toml.write_text(said.replace('runtime = "onnxruntime"', 'runtime = "executorch"'))
    assert "apt-get install g++" in refused(board)
    toml.write_text(said)
    assert "--wheel nothing.whl is not there" in refused(board, DEVICE, "--wheel", "nothing.whl")


def test_too_little_room_is_said(board: BoardRoot) -> None:
    board.mount_small("opt", "100m")
    assert "/opt has 100 MiB free, 700 are needed: make room" in refused(board)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("device.key", "no key\n", "device.key"),
        ("password", "two\nlines\n", "password_file"),
        ("model.pfz", "no bundle", "model.pfz"),
        ("train.npz", "no samples", "train.npz"),
        ("ca.pem", "no certificate", "ca_file"),
    ],
)
def test_files_that_the_device_could_not_use_are_refused_and_the_old_installation_stays(
    device: BoardRoot, name: str, content: str, says: str
) -> None:
    (device.path / DEVICE[1:] / name).write_text(content)
    line = refused(device)
    assert says in line
    assert ".staged" not in line


def test_without_its_packages_nothing_is_left_and_with_them_it_is_installed(
    board: BoardRoot,
) -> None:
    unreachable = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    line = refused(board, DEVICE, PIP_FIND_LINKS="/nowhere", **unreachable)
    assert "pip could not install pfedfrz[onnxruntime]: ERROR: No matching distribution" in line
    assert line.endswith("check the network and the disk, then run this again")
    assert not (board.path / "opt/pfedfrz").exists()
    # Some came, the last did not.
    for wheel in board.wheels.iterdir():
        if not wheel.name.startswith("zstandard"):
            board.bring(wheel, "media/usb")
    assert "No matching distribution found for zstandard" in refused(
        board, DEVICE, PIP_FIND_LINKS="/media/usb", **unreachable
    )
    done = board.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    assert "device-00 of lab is installed: 0.1.0-onnxruntime-py3.11-" in done.stdout


def test_a_disk_that_is_full_in_mid_install_leaves_nothing(board: BoardRoot) -> None:
    board.mount_small("opt", "120m")
    board.replace_command("df", "echo Avail; echo 9999")
    line = refused(board)
    assert "No space left on device" in line
    assert not any((board.path / "opt").iterdir())


def test_another_devices_folder_is_refused(device: BoardRoot) -> None:
    line = refused(device, OTHER)
    assert line.endswith(
        "/var/lib/pfedfrz is lab/device-00's, not lab/device-01's: "
        "uninstall-device.sh --personal-weights delete first"
    )


def test_a_new_folder_replaces_the_configuration_and_keeps_a_rotated_key(
    device: BoardRoot,
) -> None:
    rotated = device.run(
        *("runuser", "-u", "pfedfrz", "--", "pfedfrz", "rotate-key"),
        *("--config", "/etc/pfedfrz/device/device.toml"),
    )
    assert rotated.returncode == 0, rotated.stderr
    key = (device.path / STATE / "device/device.key").read_bytes()
    installed = device.path / "etc/pfedfrz/device/device.toml"
    real = device.path / "etc/pfedfrz" / (device.path / "etc/pfedfrz/device").readlink()
    (real / "device.toml").write_text(installed.read_text() + "# edited here\n")
    folder = device.path / DEVICE[1:]
    (folder / "password").write_text("a-new-password\n")
    done = device.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    now = device.path / "etc/pfedfrz" / (device.path / "etc/pfedfrz/device").readlink()
    assert (now / "password").read_text() == "a-new-password\n"
    assert (now / "device.toml.before").read_text().endswith("# edited here\n")
    assert (device.path / STATE / "device/device.key").read_bytes() == key
    assert not real.exists()
    # A key that was made anew is for this board, too.
    (folder / "device.key").write_bytes((device.path / OTHER[1:] / "device.key").read_bytes())
    assert device.script("install-device.sh", DEVICE).returncode == 0
    assert (device.path / STATE / "device/device.key").read_bytes() != key


def test_samples_that_grew_on_the_board_are_not_lost(device: BoardRoot) -> None:
    there = device.path / STATE / "data"
    grown = (there / "train.npz").read_bytes() + b"grown"
    (there / "train.npz").write_bytes(grown)
    folder = device.path / DEVICE[1:]
    (folder / "password").write_text("a-new-password\n")
    assert device.script("install-device.sh", DEVICE).returncode == 0
    assert (there / "train.npz").read_bytes() == grown, "the folder has what it had"
    brought = (folder / "test.npz").read_bytes()
    (folder / "train.npz").write_bytes(brought)
    done = device.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    assert "kept as /var/lib/pfedfrz/data/train.npz.before" in done.stdout
    assert (there / "train.npz").read_bytes() == brought
    assert (there / "train.npz.before").read_bytes() == grown
    (folder / "train.npz").write_bytes(grown)
    (there / "train.npz").write_bytes(brought + b"grown")
    assert device.script("install-device.sh", DEVICE).returncode == 0
    assert (there / "train.npz.before").read_bytes() == grown
    assert (there / "train.npz.before-2").read_bytes() == brought + b"grown"


def test_a_folder_of_images_brings_what_reads_them(device: BoardRoot) -> None:
    folder = device.path / DEVICE[1:]
    for label in range(10):
        place = folder / "images" / str(label)
        place.mkdir(parents=True)
        pixels = bytes(min(255, 20 * label + i % 28) for i in range(28 * 28))
        (place / "one.pgm").write_bytes(b"P5 28 28 255\n" + pixels)
    toml = folder / "device.toml"
    toml.write_text(toml.read_text().replace('train = "train.npz"', 'train = "folder:images"'))
    done = device.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    assert (device.path / STATE / "data/images/7/one.pgm").exists()
    assert "onnxruntime+images" in str((device.path / "opt/pfedfrz/current").readlink())


def test_from_the_checkout_without_a_wheel(board: BoardRoot) -> None:
    for wheel in (board.path / "media/usb/firmware_scripts").glob("*.whl"):
        wheel.unlink()
    assert "there is no wheel: lay pfedfrz-VERSION-py3-none-any.whl beside" in refused(board)
    root = Path(__file__).parents[2]
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        board.bring(root / name)
    for room in (
        *("protocol", "storage", "transport", "models", "export", "edge_client", "coordinator"),
        *("provision", "emulator", "pfedfrz"),
    ):
        board.bring(root / room)
    done = board.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    again = board.script("install-device.sh", DEVICE)
    assert "nothing was changed" in again.stdout


def test_another_wheel_is_an_upgrade_in_place(
    device: BoardRoot, wheel: Path, tmp_path: Path
) -> None:
    device.bring(other_wheel(wheel, "0.2.0", tmp_path))
    before = (device.path / "opt/pfedfrz/current").readlink()
    done = device.script(
        "install-device.sh", DEVICE, "--wheel", "/media/usb/pfedfrz-0.2.0-py3-none-any.whl"
    )
    assert done.returncode == 0, done.stderr
    assert (device.path / "opt/pfedfrz/previous").readlink() == before
    assert "0.2.0-" in done.stdout


def test_uninstalled_it_keeps_personal_weights_for_root_alone_and_takes_them_up_again(
    device: BoardRoot,
) -> None:
    weights = device.path / STATE / "device/personal.test"
    weights.write_text("mine")
    done = device.script("uninstall-device.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "/var/lib/pfedfrz is kept, for root alone: personal weights, key and samples" in done.stdout
    )
    ours = (name for name in device.state() if "pfedfrz" in name)
    left = [name for name in ours if not re.search("coordinator|broker|usr/local/sbin", name)]
    assert all(name.startswith((STATE, "etc/pfedfrz")) for name in left), left
    assert not (device.path / "etc/pfedfrz/device").is_symlink()
    assert weights.stat().st_uid == 0
    assert device.run("getent", "passwd", "pfedfrz").returncode != 0
    assert (device.path / "etc/pfedfrz/coordinator").is_symlink()
    again = device.script("uninstall-device.sh")
    assert again.stdout == "uninstall-device: no device is installed here: nothing was changed\n"
    assert "is lab/device-00's" in refused(device, OTHER)

    done = device.script("install-device.sh", DEVICE)
    assert done.returncode == 0, done.stderr
    assert weights.read_text() == "mine"
    assert device.run("stat", "--format=%U", f"/{STATE}/device/personal.test").stdout == "pfedfrz\n"

    assert device.script("uninstall-device.sh", "--personal-weights").returncode == 2
    done = device.script("uninstall-device.sh", "--personal-weights", "delete")
    assert "/var/lib/pfedfrz is deleted" in done.stdout
    assert not (device.path / STATE).exists()
