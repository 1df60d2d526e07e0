"""docs/splits.md: every split and its settings are there, and what it shows is taken."""

from __future__ import annotations

import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

from pfedfrz.commands.emulate import command
from pfedfrz_emulator.experiment import load_experiment
from pfedfrz_emulator.splits import SPLITS, find_split

PAGE = (Path(__file__).parents[2] / "docs" / "splits.md").read_text()
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    pfedfrz emulate ")]
FILES = re.findall(r"```json\n(.+?)\n```", PAGE, re.S)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_ask_for_an_experiment_that_can_be_run(line: str) -> None:
    options = command.make_context("emulate", shlex.split(line)[2:]).params
    for name in ("config", "out", "as_json", "broker"):
        options.pop(name)
    assert load_experiment(None, options).split.split(":")[0] in SPLITS


def test_the_table_has_every_split_with_its_settings_and_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| ([^|]*) \|", PAGE, re.M))
    assert set(rows) == set(SPLITS)
    for name, kind in SPLITS.items():
        for field in fields(kind):  # type: ignore[arg-type]
            default = "" if field.default is MISSING else f" ({field.default})"
            assert f"`{field.name}`{default}" in rows[name], (name, field.name)


@pytest.mark.parametrize("content", FILES)
def test_the_files_are_read(content: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    split = find_split(f"file:path={path}").split_labels(
        np.arange(60) % 3, content.count("[") - 1, 5, 3, seed=0
    )
    assert all(len(rows) >= 2 for rows in split.indices)
