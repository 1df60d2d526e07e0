"""docs/device-at-work.md: its table, its settings and its commands are those of the code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from pfedfrz.command import run
from pfedfrz_edge.conditions import ConditionSettings
from pfedfrz_edge.conditions.metered import METERED
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.model_store import KeptModel, ModelStore
from pfedfrz_edge.status import RoundHistory, RoundRecord
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_protocol import (
    Group,
    Hyperparameters,
    InputSpec,
    LocalReport,
    Purpose,
    find_method,
    partition_by_patterns,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "device-at-work.md").read_text()
COMMANDS = re.findall(r"^    (pfedfrz .+)$", PAGE, re.M)
(TOML,) = re.findall(r"```toml\n(.+?)```", PAGE, re.S)
(PYTHON,) = re.findall(r"```python\n(.+?)```", PAGE, re.S)
DEVICE = """\
federation = "lab"
device = "pi"
bundle = "m.pfz"
state_dir = "state"

[data]
train = "train.npz"
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Path]:
    """The folder of a device that has trained one round, as the working directory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    bundle = export_bundle(
        module,
        name="small",
        input_spec=InputSpec((6,), 3),
        partition=partition_by_patterns([n for n, _ in module.named_parameters()], ("2.*",)),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(epochs=1)),
    )
    save_bundle(bundle, tmp_path / "m.pfz")
    (tmp_path / "device.toml").write_text(DEVICE + TOML)
    state = tmp_path / "state"
    state.mkdir()
    weights = {**bundle.initial_weights(Group.SHARED), **bundle.initial_personal()}
    ModelStore(state, bundle.manifest.digest).save(KeptModel(weights, 12, "d" * 64))
    report = LocalReport(60, 0.5, 0.75, 0.25)
    RoundHistory(state).add(RoundRecord(12, Purpose.TRAIN, 1e9, report))
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    with _within(tmp_path):
        yield tmp_path


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_every_command_runs_and_says_what_the_page_promises(
    board: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for line in COMMANDS:
        assert run(shlex.split(line)[1:]) == 0, capfd.readouterr().err
        said[line] = capfd.readouterr()
    status, as_json, predict, written, export = (said[line] for line in COMMANDS)
    assert "does not run" in status.out
    assert re.search(r"^  12 +train +50\.0% +75\.0%", status.out, re.M)
    assert re.search(r"^  hours +\d\d:\d\d$", status.out, re.M)
    assert json.loads(as_json.out)["rounds"][0]["report"]["local"] == 0.75
    assert predict.err == "the model that this device trained in round 12\n"
    rows = [line.split() for line in predict.out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        (str(number), "label", "probability") for number in range(4)
    ]
    assert written.out == ""
    predictions = json.loads((board / "predictions.json").read_text())
    assert predictions["model"]["round"] == 12
    assert [str(one["label"]) for one in predictions["predictions"]] == [row[2] for row in rows]
    assert "keep it to yourself" in export.out
    for name in ("predictions.json", "model.onnx"):
        assert (board / name).stat().st_mode & 0o777 == 0o600
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(PYTHON, {})
    assert text.getvalue().strip("[]\n").split() == [row[2] for row in rows]


def test_before_the_first_training_that_is_said(
    board: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (board / "state" / "model-000000001.safetensors").unlink()
    assert run(["device", "predict", "--config", "device.toml", "samples.npz"]) == 0
    assert "no round has been trained on this device yet" in capfd.readouterr().err


def test_the_table_has_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.M))
    defaults = msgspec.to_builtins(ConditionSettings())
    assert list(rows) == list(defaults)
    for name, default in defaults.items():
        if name == "cool_c":
            assert rows[name] == "`hot_c` - 10"
            assert ConditionSettings(hot_c=75.0).resume_below_c == 65
        elif default is None:
            assert rows[name] == "not asked"
        else:
            assert rows[name] == f"`{json.dumps(default)}`"
    assert ", ".join(f"`{pattern}`" for pattern in METERED) in PAGE


def test_the_settings_of_the_example_are_taken(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(DEVICE + TOML)
    settings = load_device_settings(tmp_path / "device.toml").conditions
    left_out = {
        name for name in settings.__struct_fields__ if not re.search(rf"^{name} =", TOML, re.M)
    }
    assert left_out == {"mains_only"}
    assert (settings.hours, settings.resume_below_c) == (("22:00-06:00",), 65)
