from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pfedfrz_monitor.report import RunRecord, encode_page, write_report
from pfedfrz_protocol import OperationError


def test_the_whole_report_is_written(record: RunRecord, tmp_path: Path) -> None:
    files = write_report(record, tmp_path / "runs" / "first")
    assert sorted(path.name for path in files.summary.parent.iterdir()) == [
        "accuracy.png",
        "devices.csv",
        "label_mix.png",
        "report.html",
        "rounds.csv",
        "summary.json",
    ]
    assert json.loads(files.summary.read_text())["seed"] == 7
    assert files.page.read_bytes() == encode_page(record)
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in files.plots)


def test_an_earlier_report_is_replaced(record: RunRecord, tmp_path: Path) -> None:
    write_report(record, tmp_path)
    files = write_report(replace(record, wall_s=99.0), tmp_path)
    assert json.loads(files.summary.read_text())["wall_s"] == 99.0
    assert len(list(tmp_path.iterdir())) == 6


def test_a_folder_that_cannot_be_made_is_an_operation_error(
    record: RunRecord, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OperationError, match=r"cannot make .*file/out"):
        write_report(record, tmp_path / "file" / "out")
