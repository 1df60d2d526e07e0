"""docs/monitoring.md from "After the fact" on: commands can be given, numbers are the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from pfedfrz.command import cli
from pfedfrz_monitor.exports import tensorboard_events
from pfedfrz_monitor.exports.csv_tables import run_tables
from pfedfrz_monitor.report import RunRecord, RunSettings, heat_map, plain_table, steps

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
LATER = PAGE[PAGE.index("## After the fact") :]
COMMANDS = [line for line in LATER.splitlines() if line.startswith("pfedfrz ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_can_be_given(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None
        command = found
    command.make_context(command.name, words)


def test_there_are_commands_to_be_tested() -> None:
    assert len(COMMANDS) == 9


def test_the_bounds_are_the_code_s() -> None:
    assert f"at most {heat_map._MOST_DEVICES} devices in the map" in LATER
    assert f"{plain_table.MOST_ROWS} in each" in LATER
    assert f"first {tensorboard_events._MOST_DEVICES} devices" in LATER
    assert f"more than {steps._FAR} scaled median absolute deviations" in LATER


def test_units_and_tables_are_as_said() -> None:
    settings = RunSettings(None, None, None, None, None, 0, None, None, None, None, None, None, "")
    tables = run_tables(RunRecord(settings, (), (), 0.0))
    assert {table.name for table in tables} == set(
        re.findall(r"`(rounds|devices|refusals)`", LATER)
    )
    columns = [column for table in tables for column in table.columns]
    assert any(column.endswith("_unix_s") for column in columns)
    assert any(column.endswith("_bytes") for column in columns)
