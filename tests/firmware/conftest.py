"""Boards to throw away, and a federation that was made for them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from board_root import ROOT, BoardRoot, build_wheel, wheelhouse

DEVICE = "/media/usb/fleet/devices/device-00"
MakeBoard = Callable[..., BoardRoot]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheels(wheel: Path) -> Path:
    return wheelhouse(wheel)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/boards.md makes, with samples; two rounds, and one device is enough to begin."""
    work = tmp_path_factory.mktemp("fleet")
    block = (ROOT / "docs/boards.md").read_text().split("```")[1].replace("\\\n", " ")
    for line in filter(None, map(str.strip, block.splitlines())):
        # All of these members are on one machine.
        line = line.replace("--host broker.lan", "--host localhost --bind 127.0.0.1 --port 8883")
        name, *arguments = line.split()
        assert name == "pfedfrz"
        subprocess.run(["python", "-m", "pfedfrz", *arguments], cwd=work, check=True)
    toml = work / "fleet/coordinator/coordinator.toml"
    said = toml.read_text().replace("rounds = 20", "rounds = 2")
    toml.write_text(said.replace("start_devices = 3", "start_devices = 1"))
    for device in (work / "fleet/devices").iterdir():
        for name, samples in (("train", 200), ("test", 40)):
            labels = np.arange(samples) % 10
            images = np.zeros((samples, 1, 28, 28), np.uint8)
            for image, label in zip(images, labels, strict=True):
                image[0, 2 * label : 2 * label + 3] = 255
            np.savez(device / f"{name}.npz", x=images, y=labels)
    return work / "fleet"


@pytest.fixture
def make_board(tmp_path: Path, wheel: Path, wheels: Path, fleet: Path) -> Iterator[MakeBoard]:
    """Boards with the scripts, the wheel and the fleet at hand; `layers` lie below."""
    boards: list[BoardRoot] = []

    def make(*layers: Path, chroot: bool = True) -> BoardRoot:
        board = BoardRoot(tmp_path / f"board-{len(boards)}", wheels, layers)
        boards.append(board.__enter__())
        if not layers:
            bring_all(board, wheel, fleet)
        return board.mount_for_chroot() if chroot else board

    yield make
    for board in boards:
        board.__exit__()
        shutil.rmtree(board.folder)


def bring_all(board: BoardRoot, wheel: Path, fleet: Path) -> None:
    board.bring(ROOT / "firmware_scripts")
    board.bring(wheel, "media/usb/firmware_scripts")
    board.bring(fleet)


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, wheels: Path, fleet: Path
) -> Iterator[Path]:
    """A layer in which a device and a coordinator were installed."""
    board = BoardRoot(tmp_path_factory.mktemp("installed") / "board", wheels)
    with board:
        bring_all(board, wheel, fleet)
        board.mount_for_chroot()
        for done in (
            board.script("install-device.sh", DEVICE),
            board.script("install-coordinator.sh", "/media/usb/fleet"),
        ):
            assert done.returncode == 0, done.stderr
    yield board.upper
    shutil.rmtree(board.folder)


@pytest.fixture
def board(make_board: MakeBoard) -> BoardRoot:
    """One on which nothing was installed."""
    return make_board()


@pytest.fixture
def device(make_board: MakeBoard, installed: Path) -> BoardRoot:
    """One on which device-00 and the coordinator are installed."""
    return make_board(installed)
