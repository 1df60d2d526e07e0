"""What the page beside a run leaves on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfedfrz_emulator.fleet_files import FleetFiles
from pfedfrz_emulator.run_page import RunPage, make_operator_key
from pfedfrz_protocol import OperationError


def test_nobody_else_on_the_machine_reads_what_allows_to_act(tmp_path: Path) -> None:
    files = FleetFiles(tmp_path, "lab")
    files.log("page").parent.mkdir()
    make_operator_key(tmp_path)
    # Nothing listens on that port: the page says so in its log, where its address would be too.
    with pytest.raises(OperationError, match="the page was not served"):
        RunPage(files, "mqtt://127.0.0.1:1", {}).__enter__()
    secrets = ("page.token", "operator.key", "monitor.toml", "logs/page.log")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in secrets} == dict.fromkeys(
        secrets, 0o600
    )
