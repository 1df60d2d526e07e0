"""kill -9 before every step that changes something; then once more, to the state it should be in.

A trap that bash reads from BASH_ENV counts the script's steps and kills it at one of them. Making
an environment is linking to one that is there, so that dozens of installations take minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from board_root import BoardRoot, other_wheel

pytestmark = pytest.mark.firmware
FLEET = "/media/usb/fleet"
DEVICE = f"{FLEET}/devices/device-00"
SECOND = "/media/usb/pfedfrz-0.2.0-py3-none-any.whl"
QUICK_PYTHON = "/usr/local/sbin/quick-python"

# What begins so changes something, or calls a program that does.
CHANGING = (
    "mkdir|rm|mv|ln|install |cp|chown|chmod|useradd|userdel|systemctl|sync|sed -i|printf .*>|rmdir|"
    'touch|basename .*>|cat >|run_pip|"\\$python" -m'
)
TRAP = r"""
set -T
steps=0
trap 'if [[ $BASHPID = $$ && $BASH_COMMAND =~ ^(CHANGING) ]]; then
    steps=$((steps + 1))
    [ -z "${STEPS_TO:-}" ] || printf "%s\n" "${BASH_COMMAND//[[:cntrl:]]/ }" >>"$STEPS_TO"
    [ "$steps" != "${KILL_AT:-}" ] || kill -9 $$
fi' DEBUG
"""


def prepared(board: BoardRoot, quick: str) -> BoardRoot:
    """With the trap, and a Python whose `-m venv DIR` copies an environment."""
    (board.path / "trap.sh").write_text(TRAP.replace("CHANGING", CHANGING))
    board.replace_command(
        "quick-python",
        f'if [ "$1 $2" = "-m venv" ]; then cp -rs {quick}/. "$3" && rm "$3/complete"\n'
        'else exec python3 "$@"; fi',
    )
    return board


def steps_of(board: BoardRoot, *command: str) -> list[int]:
    """Run it whole; the numbers of its different steps."""
    done = board.script(*command, BASH_ENV="/trap.sh", STEPS_TO="/steps")
    assert done.returncode == 0, done.stderr
    steps = (board.path / "steps").read_text().splitlines()
    return [steps.index(step) + 1 for step in sorted(set(steps), key=steps.index)]


def compared(board: BoardRoot) -> dict[str, object]:
    """Without what is no part of an installation: inside an environment only that it is whole.

    A configuration that was in place before its record was is made again, under a second name.
    """
    return {
        _one_name(name): _one_name(repr(found))
        for name, found in board.state().items()
        if not re.search(r"opt/[^/]+/versions/[^/]+/(?!complete$)|usr/local/sbin", name)
    }


def _one_name(text: str) -> str:
    return re.sub(r"(\.(?:device|coordinator)-[0-9a-f]{8})-again", r"\1", text)


def must_be_sound(board: BoardRoot, of: str) -> None:
    """Nothing is there that runs, or what is there can start."""
    current = board.path / "opt/pfedfrz/current"
    wanted = board.path / "etc/systemd/system/multi-user.target.wants/pfedfrz-device.service"
    if not wanted.is_symlink():
        return
    assert current.is_symlink(), of
    assert (board.path / "opt/pfedfrz" / current.readlink() / "complete").exists(), of
    checked = board.run(
        *("runuser", "-u", "pfedfrz", "--", "/opt/pfedfrz/current/bin/pfedfrz"),
        *("device", "--check", "--config", "/etc/pfedfrz/device/device.toml"),
    )
    assert checked.returncode == 0, (of, checked.stderr)


def kill_everywhere(
    make: Callable[[], BoardRoot],
    *command: str,
    sound: bool = True,
    compared: Callable[[BoardRoot], object] = compared,
) -> int:
    """How many steps it was killed before; each time another run must finish the work."""
    whole = make()
    steps = steps_of(whole, *command)
    expected = compared(whole)
    for step in steps:
        board = make()
        killed = board.script(*command, BASH_ENV="/trap.sh", KILL_AT=str(step))
        assert killed.returncode == -9, (step, steps, killed)
        if sound:
            must_be_sound(board, f"step {step}")
        done = board.script(*command)
        assert done.returncode == 0, (step, done.stdout, done.stderr)
        assert compared(board) == expected, step
        board.__exit__()
    return len(steps)


@pytest.fixture
def quick(installed: Path) -> str:
    """The environment of the layer below, as a path on the board."""
    (folder,) = (installed / "opt/pfedfrz/versions").iterdir()
    return f"/opt/pfedfrz/versions/{folder.name}"


Fresh = Callable[[str], Callable[[], BoardRoot]]


@pytest.fixture
def fresh(make_board: Callable[..., BoardRoot], installed: Path) -> Fresh:
    """Boards without an installation, but with an environment of one program to copy."""

    def prebuilt(program: str) -> Callable[[], BoardRoot]:
        below = make_board()
        (below.path / "prebuilt").mkdir()
        (version,) = (installed / "opt" / program / "versions").iterdir()
        shutil.copytree(version, below.path / "prebuilt/env", symlinks=True)
        prepared(below, "/prebuilt/env")
        return lambda: make_board(below.upper)

    return prebuilt


def test_a_first_installation(fresh: Fresh) -> None:
    assert (
        kill_everywhere(fresh("pfedfrz"), "install-device.sh", DEVICE, "--python", QUICK_PYTHON)
        > 25
    )


@pytest.fixture
def updatable(
    make_board: Callable[..., BoardRoot],
    installed: Path,
    quick: str,
    wheel: Path,
    tmp_path: Path,
) -> Callable[[], BoardRoot]:
    """Boards with a device installed, a second wheel, and new secrets in its folder."""
    second = other_wheel(wheel, "0.2.0", tmp_path)

    def make() -> BoardRoot:
        board = prepared(make_board(installed), quick)
        board.bring(second)
        (board.path / DEVICE[1:] / "password").write_text("another-password\n")
        return board

    return make


def test_an_update(updatable: Callable[[], BoardRoot]) -> None:
    command = ("update-device.sh", "--wheel", SECOND, "--python", QUICK_PYTHON)
    assert kill_everywhere(updatable, *command) > 8


def test_a_new_folder_for_a_device_that_is_there(updatable: Callable[[], BoardRoot]) -> None:
    assert kill_everywhere(updatable, "install-device.sh", DEVICE) > 15


def test_an_uninstallation(updatable: Callable[[], BoardRoot]) -> None:
    assert kill_everywhere(updatable, "uninstall-device.sh", sound=False) > 5


def test_a_first_installation_of_a_coordinator(fresh: Fresh) -> None:
    command = ("install-coordinator.sh", FLEET, "--python", QUICK_PYTHON)
    boards = fresh("pfedfrz-coordinator")
    assert kill_everywhere(boards, *command, sound=False) > 25


def test_an_uninstallation_of_a_coordinator(updatable: Callable[[], BoardRoot]) -> None:
    assert kill_everywhere(updatable, "uninstall-coordinator.sh", sound=False) > 5


def test_going_back(updatable: Callable[[], BoardRoot]) -> None:
    def make() -> BoardRoot:
        board = updatable()
        done = board.script("update-device.sh", "--wheel", SECOND, "--python", QUICK_PYTHON)
        assert done.returncode == 0, done.stderr
        return board

    assert kill_everywhere(make, "update-device.sh", "--back") > 2


def files_of(*places: str) -> Callable[[BoardRoot], object]:
    """Names and contents, for places that no installation writes to."""

    def compared(board: BoardRoot) -> dict[str, bytes]:
        folders = (board.path / place for place in places)
        found = (path for folder in folders for path in sorted(folder.rglob("*")))
        return {str(p.relative_to(board.path)): p.read_bytes() for p in found if p.is_file()}

    return compared


@pytest.fixture
def carded(
    make_board: Callable[..., BoardRoot], fleet: Path, wheel: Path, tmp_path: Path
) -> Callable[[], BoardRoot]:
    """Boards with a card beside them, and the first boot of device-00 in its folder."""
    own = tmp_path / "fleet"
    shutil.copytree(fleet, own)
    command = ["python", "-m", "pfedfrz", "provision", own, "--first-boot", wheel]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    below = make_board()
    shutil.copytree(own, below.path / "media/usb/fleet", dirs_exist_ok=True)
    prepared(below, "/nothing")
    (below.path / "card").mkdir()
    (below.path / "card/cmdline.txt").write_text("root=PARTUUID=1-02 rootwait\n")
    return lambda: make_board(below.upper)


def test_the_preparation_of_a_card(carded: Callable[[], BoardRoot]) -> None:
    command = ("prepare-card.sh", "/card", DEVICE)
    steps = kill_everywhere(carded, *command, sound=False, compared=files_of("card"))
    assert steps > 2


def test_the_first_start_up_to_its_unit(carded: Callable[[], BoardRoot]) -> None:
    def make() -> BoardRoot:
        board = carded()
        script = (board.path / DEVICE[1:] / "first-boot.sh").read_bytes()
        (board.path / "media/usb/firmware_scripts/first-boot.sh").write_bytes(script)
        return board

    places = ("var/lib/pfedfrz-first-boot", "etc/systemd/system", "boot")
    steps = kill_everywhere(make, "first-boot.sh", sound=False, compared=files_of(*places))
    assert steps > 8
