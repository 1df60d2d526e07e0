"""docs/faults.md says what the code does: its tables are held to it, its commands are typed in."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.points import COORDINATOR_POINTS, DEVICE_POINTS

from pfedfrz.commands.emulate import command
from pfedfrz_emulator.experiment import load_experiment
from pfedfrz_emulator.faults import FAULTS, FaultProfile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()
COMMANDS = re.findall(r"(?m)^pfedfrz emulate [^#\n]*", PAGE)


def test_the_table_of_profiles_is_that_of_the_code() -> None:
    rows = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 5:
            rows[cells[0].strip("`")] = [float(cell) for cell in cells[1:4]]
    profiles = [FAULTS[name]() for name in ("calm", "flaky", "harsh")]
    assert rows == {
        field.name: [float(getattr(profile, field.name)) for profile in profiles]
        for field in dataclasses.fields(FaultProfile)
    }


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_an_emulation_can_be_typed_in(line: str) -> None:
    options = command.make_context("emulate", shlex.split(line)[2:]).params
    for name in ("config", "out", "as_json", "broker"):
        options.pop(name)
    assert not load_experiment(None, options).resolve_faults().is_calm or "calm" in line


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("point", [*DEVICE_POINTS, *COORDINATOR_POINTS])
def test_every_chosen_instant_is_named(point: str) -> None:
    assert point in " ".join(PAGE.split())


def test_the_long_run_says_what_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--help"],
        cwd=ROOT / "tests" / "support",
        capture_output=True,
        text=True,
        check=True,
    )
    for option in re.findall(r"scripts/chaos[^`\n]*?(--[a-z]+)", PAGE):
        assert option in done.stdout
