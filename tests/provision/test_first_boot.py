"""What makes a flashed card enrol by itself, taken apart again; boards run it in tests/boards."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pfedfrz_protocol import ConfigurationError
from pfedfrz_provision import Request, provision, revoke

WHEEL = "pfedfrz-0.1.0-py3-none-any.whl"
FIRMWARE = Path(__file__).parents[2] / "firmware_scripts"
IMAGER_CLOUD_INIT = """\
#cloud-config
hostname: pi
runcmd:
{indent}- [ rfkill, unblock, wifi ]
{indent}- [ sh, -c, "echo hello" ]
"""
IMAGER_FIRSTRUN = """\
#!/bin/bash

set +e
raspi-config nonint do_hostname pi
rm -f /boot/firstrun.sh
sed -i 's| systemd.run.*||g' /boot/cmdline.txt
exit 0
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pfedfrz/__init__.py", "")
    return path


@pytest.fixture
def fleet(tmp_path: Path, bundle: Path, wheel: Path) -> Path:
    new = Request(federation="lab", hosts=("broker.lan",), count=2, wheel=wheel)
    provision(tmp_path / "fleet", replace(new, wheel=None), bundle)
    for number in range(2):
        (tmp_path / "fleet" / "devices" / f"device-0{number}" / "train.npz").write_bytes(b"samples")
    done = provision(tmp_path / "fleet", Request(wheel=wheel))
    assert done.first_boot == ("device-00", "device-01")
    return tmp_path / "fleet"


def unpacked(script: bytes, into: Path) -> Path:
    """What the script would unpack, by the script's own commands."""
    path = into / "first-boot.sh"
    into.mkdir()
    path.write_bytes(script)
    command = f"sed '1,/^__ARCHIVE__$/d' {path} | base64 -d | tar -xzf - --no-same-owner -C {into}"
    assert command.split(f"{path}")[1].split(" -C")[0] in (FIRMWARE / "first-boot.sh").read_text()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)
    return into


def test_the_script_carries_the_devices_folder_the_wheel_and_the_firmware_scripts(
    fleet: Path, wheel: Path, tmp_path: Path
) -> None:
    folder = fleet / "devices" / "device-01"
    script = folder / "first-boot.sh"
    subprocess.run(["bash", "-n", script], check=True)
    place = unpacked(script.read_bytes(), tmp_path / "board")
    names = {"device.toml", "device.key", "password", "ca.pem", "model.pfz", "train.npz"}
    assert {path.name for path in (place / "device").iterdir()} == names
    for name in names:
        assert (place / "device" / name).read_bytes() == (folder / name).read_bytes()
        assert (place / "device" / name).stat().st_mode & 0o777 == 0o600
    assert (place / WHEEL).read_bytes() == wheel.read_bytes()
    scripts = {str(p.relative_to(FIRMWARE)) for p in FIRMWARE.rglob("*") if p.is_file()}
    packed = place / "firmware_scripts"
    assert scripts == {str(p.relative_to(packed)) for p in packed.rglob("*") if p.is_file()}


def test_cloud_init_writes_and_runs_the_same_script(fleet: Path) -> None:
    folder = fleet / "devices" / "device-00"
    first, rest = (folder / "user-data").read_text().split("\n", 1)
    assert first == "#cloud-config"
    document = json.loads(rest)
    (written,) = document["write_files"]
    content = gzip.decompress(base64.b64decode(written["content"]))
    assert content == (folder / "first-boot.sh").read_bytes()
    assert (written["encoding"], written["permissions"]) == ("gz+b64", "0700")
    assert document["runcmd"] == [["bash", written["path"]]]
    assert f"place={Path(written['path']).parent}\n" in (FIRMWARE / "first-boot.sh").read_text()


def test_only_its_owner_reads_it_and_the_same_folder_gives_the_same_bytes(
    fleet: Path, wheel: Path
) -> None:
    files = [fleet / "devices" / "device-00" / name for name in ("first-boot.sh", "user-data")]
    before = [path.read_bytes() for path in files]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    provision(fleet, Request(wheel=wheel))
    assert [path.read_bytes() for path in files] == before


def test_a_folder_whose_secrets_have_gone_to_its_board_is_left_out(
    fleet: Path, wheel: Path
) -> None:
    shutil.rmtree(fleet / "devices" / "device-00")
    provision(fleet, Request(count=3))
    (fleet / "devices" / "device-02" / "train.npz").write_bytes(b"samples")
    assert provision(fleet, Request(wheel=wheel)).first_boot == ("device-01", "device-02")


# Samples


def say(folder: Path, train: str, test: str | None = None) -> None:
    path = folder / "device.toml"
    text = path.read_text().replace('train = "train.npz"', f'train = "{train}"')
    path.write_text(text + (f'test = "{test}"\n' if test else ""))


def test_samples_in_subfolders_are_carried_and_the_state_of_a_try_is_not(
    fleet: Path, wheel: Path, tmp_path: Path
) -> None:
    folder = fleet / "devices" / "device-00"
    say(folder, "folder:images", "factory:code/sensors.py:samples")
    deep = f"images/{'cat' * 40}/{'x' * 120} ä.jpg"
    for name in (deep, "images/dog/1.jpg", "code/sensors.py", "state/key", "images/.cache/a",
                 "images/state/b.jpg"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "images" / "none-yet").mkdir()
    provision(fleet, Request(wheel=wheel))
    script = folder / "first-boot.sh"
    board = unpacked(script.read_bytes(), tmp_path / "board") / "device"
    for name in (deep, "images/dog/1.jpg", "code/sensors.py", "images/state/b.jpg"):
        assert (board / name).read_bytes() == name.encode()
    assert (board / "images" / "none-yet").is_dir()
    assert not (board / "state").exists()
    assert not (board / "images" / ".cache").exists()
    before = script.read_bytes()
    provision(fleet, Request(wheel=wheel))
    assert script.read_bytes() == before


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        ("gone.npz", None, "train = 'gone.npz'"),
        ("npz:gone.npz", None, "train = 'npz:gone.npz'"),
        ("folder:images", None, "train = 'folder:images'"),
        ("csv:../readings.csv", None, r"train = 'csv:\.\./readings\.csv'"),
        ("train.npz", "factory:sensors.py:samples", "test = 'factory:sensors.py:samples'"),
        ("train.npz", "state/test.npz", "test = 'state/test.npz'"),
    ],
)
def test_samples_that_are_named_and_not_there_are_said_before_any_file_is_made(
    fleet: Path, wheel: Path, train: str, test: str | None, named: str
) -> None:
    first, second = (fleet / "devices" / name for name in ("device-00", "device-01"))
    (first / "first-boot.sh").unlink()
    (second / "state").mkdir()
    (second / "state" / "test.npz").touch()
    say(second, train, test)
    with pytest.raises(ConfigurationError, match=named) as caught:
        provision(fleet, Request(wheel=wheel))
    assert str(caught.value).endswith(f" is not in {second}: put it there, and run this again")
    assert "\n" not in str(caught.value)
    assert not (first / "first-boot.sh").exists()


@pytest.mark.parametrize(
    "train", ["/var/lib/readings.csv", "csv:/var/lib/readings.csv", "factory:sensors.front:samples"]
)
def test_samples_that_the_board_has_itself_need_not_be_in_the_folder(
    fleet: Path, wheel: Path, train: str
) -> None:
    say(fleet / "devices" / "device-00", train)
    assert "device-00" in provision(fleet, Request(wheel=wheel)).first_boot


def test_a_link_is_not_followed_and_that_is_said(fleet: Path, wheel: Path, tmp_path: Path) -> None:
    folder = fleet / "devices" / "device-00"
    (folder / "images").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="images is neither a file nor a folder"):
        provision(fleet, Request(wheel=wheel))


def test_more_than_a_first_boot_carries_is_refused_unread(fleet: Path, wheel: Path) -> None:
    folder = fleet / "devices" / "device-00"
    (folder / "images").mkdir()
    with (folder / "images" / "big").open("wb") as file:
        file.truncate(257 << 20)  # a hole
    with pytest.raises(ConfigurationError, match="holds 257 MiB, a first boot carries 256"):
        provision(fleet, Request(wheel=wheel))


def test_what_a_revoked_device_would_have_booted_with_goes(fleet: Path) -> None:
    revoke(fleet, "device-00")
    left = {path.name for path in (fleet / "devices" / "device-00").iterdir()}
    assert left & {"first-boot.sh", "user-data", "device.key", "password"} == set()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("other-1.0-py3-none-any.whl", b"", "want a wheel of pfedfrz"),
        (WHEEL, b"PK\x03\x04 and no more", "not a wheel, or cut short"),
        (WHEEL, None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_wheel_is_refused_before_anything_is_made(
    tmp_path: Path, bundle: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / "given" / name
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    new = Request(federation="lab", hosts=("broker.lan",), count=1)
    with pytest.raises(ConfigurationError, match=said):
        provision(tmp_path / "fleet", replace(new, wheel=path), bundle)
    assert not (tmp_path / "fleet").exists()


# The card


def prepare(boot: Path, device: Path) -> subprocess.CompletedProcess[str]:
    script = FIRMWARE / "prepare-card.sh"
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["bash", script, boot, device], capture_output=True, text=True, env=environment
    )


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    (tmp_path / "bootfs").mkdir()
    (tmp_path / "bootfs" / "cmdline.txt").write_text("console=tty1 root=PARTUUID=1-02 rootwait\n")
    return tmp_path / "bootfs"


@pytest.mark.parametrize("indent", ["", "  "])
def test_what_imager_told_cloud_init_stays_and_the_first_boot_comes_with_it(
    fleet: Path, boot: Path, indent: str
) -> None:
    before = IMAGER_CLOUD_INIT.format(indent=indent)
    (boot / "user-data").write_text(before)
    device = fleet / "devices" / "device-00"
    assert prepare(boot, device).returncode == 0
    after = (boot / "user-data").read_text()
    item = f"{indent}- [ bash, /boot/firmware/pfedfrz-first-boot.sh ]"
    added = set(after.splitlines()) - set(before.splitlines())
    assert [line.split("  #")[0] for line in added] == [item]
    assert [line for line in after.splitlines() if line not in added] == before.splitlines()
    copied = (boot / "pfedfrz-first-boot.sh").read_bytes()
    assert copied == (device / "first-boot.sh").read_bytes()
    assert prepare(boot, device).returncode == 0
    assert (boot / "user-data").read_text() == after


def test_a_cloud_init_without_commands_gets_a_list_of_them(fleet: Path, boot: Path) -> None:
    (boot / "user-data").write_text("#cloud-config\nhostname: pi\n")
    assert prepare(boot, fleet / "devices" / "device-00").returncode == 0
    lines = (boot / "user-data").read_text().splitlines()
    assert lines[-2] == "runcmd:"
    assert lines[-1].startswith("- [ bash, /boot/firmware/pfedfrz-first-boot.sh ]")


def test_imagers_firstrun_calls_it_before_it_removes_itself(fleet: Path, boot: Path) -> None:
    (boot / "firstrun.sh").write_text(IMAGER_FIRSTRUN)
    assert prepare(boot, fleet / "devices" / "device-00").returncode == 0
    lines = (boot / "firstrun.sh").read_text().splitlines()
    hook = lines.index("bash /boot/firmware/pfedfrz-first-boot.sh || true")
    assert lines[hook + 1].startswith("rm -f")
    assert [*lines[:hook], *lines[hook + 1 :]] == IMAGER_FIRSTRUN.splitlines()
    assert "systemd.run" not in (boot / "cmdline.txt").read_text()


def test_a_card_that_nobody_has_customized_gets_a_firstrun_of_its_own(
    fleet: Path, boot: Path
) -> None:
    for _ in range(2):
        assert prepare(boot, fleet / "devices" / "device-00").returncode == 0
        line = (boot / "cmdline.txt").read_text()
        assert line.count("systemd.run=/boot/firmware/firstrun.sh") == 1
        assert line.startswith("console=tty1 root=PARTUUID=1-02 rootwait systemd.run=")
        assert line.count("\n") == 1
        subprocess.run(["bash", "-n", boot / "firstrun.sh"], check=True)


def test_what_is_no_card_and_what_has_no_first_boot_is_said(fleet: Path, boot: Path) -> None:
    device = fleet / "devices" / "device-00"
    no_card = prepare(fleet, device)
    assert (no_card.returncode, no_card.stderr.count("\n")) == (1, 1)
    assert "is no boot partition of a card" in no_card.stderr
    (device / "first-boot.sh").unlink()
    nothing = prepare(boot, device)
    assert nothing.returncode == 1
    assert "pfedfrz provision DIR --first-boot WHEEL" in nothing.stderr
    assert {path.name for path in boot.iterdir()} == {"cmdline.txt"}
