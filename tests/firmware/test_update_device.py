"""update-device.sh where no systemd runs: what is switched, kept and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_root import BoardRoot, other_wheel

pytestmark = pytest.mark.firmware


def versions(board: BoardRoot) -> dict[str, str]:
    """The version that each link names, and all that are there."""
    program = board.path / "opt/pfedfrz"
    found = {
        name: (program / name).readlink().name.split("-")[0]
        for name in ("current", "previous")
        if (program / name).is_symlink()
    }
    kept = sorted(path.name.split("-")[0] for path in (program / "versions").iterdir())
    return {**found, "kept": " ".join(kept)}


def update(board: BoardRoot, wheel: Path) -> str:
    board.bring(wheel)
    done = board.script("update-device.sh", "--wheel", f"/media/usb/{wheel.name}")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_two_versions_are_kept_and_back_goes_one_back(
    device: BoardRoot, wheel: Path, tmp_path: Path
) -> None:
    second, third = (other_wheel(wheel, v, tmp_path) for v in ("0.2.0", "0.3.0"))
    assert "is in place; it is not started, since systemd does not run here" in update(
        device, second
    )
    assert versions(device) == {"current": "0.2.0", "previous": "0.1.0", "kept": "0.1.0 0.2.0"}
    before = device.stamps()
    assert "is in place already: nothing was changed" in update(device, second)
    assert device.stamps() == before
    update(device, third)
    assert versions(device) == {"current": "0.3.0", "previous": "0.2.0", "kept": "0.2.0 0.3.0"}

    done = device.script("update-device.sh", "--back")
    assert done.returncode == 0
    assert "0.2.0-onnxruntime-py3.11" in done.stdout
    assert versions(device)["current"] == "0.2.0"
    again = device.script("update-device.sh", "--back")
    assert again.returncode == 1
    assert "error: there is no version before 0.2.0-" in again.stderr


def test_what_cannot_be_updated_is_said_and_nothing_is_changed(
    device: BoardRoot, wheel: Path, tmp_path: Path
) -> None:
    before = device.state()

    def refused(*arguments: str, **environment: str) -> str:
        done = device.script("update-device.sh", *arguments, **environment)
        assert done.returncode in (1, 2)
        assert device.state() == before
        (line,) = done.stderr.splitlines()
        return line

    assert "there is no version before" in refused("--back")
    assert "--watch soon: want whole seconds" in refused("--watch", "soon")
    assert "--watch wants a value" in refused("--watch")
    assert "is no wheel of this project" in refused("--wheel", "/etc/passwd")
    second = other_wheel(wheel, "0.2.0", tmp_path)
    damaged = tmp_path / "pfedfrz-0.3.0-py3-none-any.whl"
    damaged.write_bytes(second.read_bytes()[:5000])
    blind = other_wheel(
        wheel,
        "0.4.0",
        tmp_path,
        {"pfedfrz_edge/process.py": lambda text: text.replace("def check_device", "def gone")},
    )
    device.bring(damaged)
    device.bring(blind)
    place = "/media/usb/pfedfrz-0.{}.0-py3-none-any.whl"
    assert "pip could not install pfedfrz[onnxruntime]" in refused("--wheel", place.format(3))
    line = refused("--wheel", place.format(4))
    assert "ImportError: cannot import name 'check_device'" in line


def test_where_nothing_is_installed_it_says_what_installs(board: BoardRoot) -> None:
    done = board.script("update-device.sh")
    assert done.returncode == 1
    assert done.stderr == (
        "update-device: error: no device is installed here: install-device.sh does that\n"
    )
