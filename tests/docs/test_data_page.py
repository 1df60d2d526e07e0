"""What docs/data.md shows, opened as a device does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.data import LocalData, open_device_data
from pfedfrz_protocol import InputSpec, LossSpec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TOML = [block for kind, block in BLOCKS if kind == "toml"]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
TABLE = next(block for kind, block in BLOCKS if not kind and block.startswith("time,"))
TOP = 'federation = "f"\ndevice = "d"\nbundle = "m.pfz"\nstate_dir = "s"\n'


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder with all that the examples name."""
    subprocess.run([sys.executable, "-c", PYTHON[0]], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "sensors.py").write_text(PYTHON[1])
    (tmp_path / "readings.csv").write_text(TABLE)
    for label in ("cat", "dog"):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (9, 7), (number, 0, len(label))).save(folder / f"{number}.png")
    (tmp_path / "images" / "labels.txt").write_text("bird\ncat\ndog\n")
    return tmp_path


def opened(board: Path, prefix: str, shape: tuple[int, ...]) -> LocalData:
    (text,) = (block for block in TOML if f'train = "{prefix}' in block)
    (board / "device.toml").write_text(TOP + text)
    settings = load_device_settings(board / "device.toml")
    return open_device_data(settings.data, InputSpec(shape, 3), LossSpec()).latest()


def test_what_shares_the_label_mix_is_a_setting(board: Path) -> None:
    (line,) = (block for block in TOML if "share_label_mix" in block)
    (board / "device.toml").write_text(TOP + line + '[data]\ntrain = "train.npz"\n')
    assert load_device_settings(board / "device.toml").share_label_mix
    (board / "device.toml").write_text(TOP + '[data]\ntrain = "train.npz"\n')
    assert not load_device_settings(board / "device.toml").share_label_mix


@pytest.mark.parametrize(
    ("prefix", "shape", "train", "test"),
    [
        ("train.npz", (4,), 50, 10),
        ("csv:", (4,), 3, None),
        ("csv:", (1, 2, 2), 3, None),
        ("factory:", (4,), 60, "held out"),
        ("folder:", (3, 8, 8), 40, "held out"),
        ("folder:", (1, 8, 8), 40, "held out"),
    ],
)
def test_every_example_gives_samples(
    board: Path, prefix: str, shape: tuple[int, ...], train: int, test: int | str | None
) -> None:
    data = opened(board, prefix, shape)
    assert data.train.x.shape[1:] == shape
    held = 0 if data.test is None else len(data.test)
    if test == "held out":
        assert len(data.train) + held == train
        assert 0 < held < train / 2
    else:
        assert (len(data.train), held) == (train, test or 0)


def test_the_examples_are_what_the_page_says_of_them(board: Path) -> None:
    table = opened(board, "csv:", (4,)).train
    np.testing.assert_array_equal(table.y, [0, 1, 2])
    np.testing.assert_allclose(table.x[0], [0.3, -1, 0.01, 0.2], rtol=1e-5)
    assert set(opened(board, "folder:", (3, 8, 8)).train.y.tolist()) == {1, 2}


def test_all_settings_are_on_the_page() -> None:
    from pfedfrz_edge.data import CsvSettings, DataSettings, ImageSettings

    for kind in (DataSettings, CsvSettings, ImageSettings):
        for key in kind.__struct_fields__:
            name = f"[data.{key}]" if key in ("csv", "images") else f"{key} ="
            assert any(name in block for block in TOML), name


def test_every_file_that_is_linked_is_there() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert all((ROOT / "docs" / target).exists() for target in targets)
