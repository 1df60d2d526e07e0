"""What docs/boards.md shows, in its order; its first block makes the fleet of all these tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from board_root import ROOT, BoardRoot, other_wheel

pytestmark = pytest.mark.firmware
PAGE = (ROOT / "docs/boards.md").read_text()
COMMANDS = re.findall(r"^/media/usb/firmware_scripts/(\S+\.sh)(.*)$", PAGE, re.MULTILINE)


def test_every_command_runs_one_after_the_other(
    board: BoardRoot, wheel: Path, tmp_path: Path
) -> None:
    assert len(COMMANDS) == 8
    board.bring(other_wheel(wheel, "0.2.0", tmp_path))
    for script, arguments in COMMANDS:
        done = board.script(script, *arguments.split())
        assert (done.returncode, done.stderr) == (0, ""), (script, arguments)
        assert "nothing was changed" not in done.stdout
    assert not [name for name in board.state() if re.search("opt/pfedfrz|lib/pfedfrz", name)]


def test_the_exposure_that_it_names_is_what_systemd_says(device: BoardRoot) -> None:
    (named,) = re.findall(r"`systemd-analyze security` says (\S+) of 10", PAGE)
    for unit in ("device", "coordinator", "broker"):
        file = f"/etc/systemd/system/pfedfrz-{unit}.service"
        said = device.run("systemd-analyze", "security", "--offline=true", "--no-pager", file)
        assert f"pfedfrz-{unit}.service: {named} OK" in said.stdout
