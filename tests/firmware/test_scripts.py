"""The scripts as text, and the units as systemd reads them."""

from __future__ import annotations

import re
import subprocess

import pytest
from board_root import ROOT, BoardRoot

pytestmark = pytest.mark.firmware
FOLDER = ROOT / "firmware_scripts"
ALL = sorted(FOLDER.glob("*.sh"))
UNITS = sorted(FOLDER.glob("units/*.service"))


def said_by(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return done.stdout + done.stderr


def test_shellcheck_and_shfmt_have_nothing_to_say() -> None:
    assert len(ALL) == 8
    assert (
        said_by("shellcheck", "-x", "-a", "-P", FOLDER, *ALL, ROOT / "scripts/test-firmware") == ""
    )
    assert said_by("shfmt", "-i", "4", "-d", FOLDER, ROOT / "scripts/test-firmware") == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_is_exposed_to_is_little(unit: object) -> None:
    said = said_by("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    (level,) = re.findall(r"Overall exposure level for \S+ (\d+\.\d)", said)
    assert float(level) < 3


def test_systemd_finds_no_fault_in_the_installed_units(device: BoardRoot) -> None:
    names = [f"/etc/systemd/system/{unit.name}" for unit in UNITS]
    assert len(names) == 3
    done = device.run("systemd-analyze", "verify", "--man=no", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", [path.name for path in ALL])
def test_help_and_a_wrong_option(board: BoardRoot, script: str) -> None:
    helped = board.script(script, "--help")
    assert helped.returncode == 0
    assert "(default:" in helped.stdout or "Exit code" in helped.stdout
    wrong = board.script(script, "--nonsense")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert "--nonsense" in wrong.stderr
