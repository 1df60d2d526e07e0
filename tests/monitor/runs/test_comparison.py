"""Runs side by side, and in what they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_journals import WrittenRun

from pfedfrz_monitor.runs import compare, differences, find_place, read_record, told_of
from pfedfrz_monitor.runs.terminal_table import aligned, spark_line


def test_differences_are_to_the_first_and_doubts_are_said(tmp_path: Path) -> None:
    first = WrittenRun(tmp_path / "a", rounds=3, seed=0).write()
    second = WrittenRun(tmp_path / "b", rounds=2, seed=1).write(closed=2, evaluated=False)
    records = [(path.name, read_record(find_place(path))) for path in (first, second)]
    comparison = compare(records)
    a, b = comparison.runs
    assert (a.name, a.local_difference) == ("a", None)
    assert a.local == pytest.approx(0.85)
    assert b.local_difference == pytest.approx(-0.10)
    assert b.local_by_round == pytest.approx((0.65, 0.75))
    assert (a.accepted, a.rejected, a.train_s) == (8, 1, pytest.approx(27.0))
    assert any("seeds differ (0, 1)" in warning for warning in comparison.warnings)
    assert any("same moment (closing evaluation, round 2)" in w for w in comparison.warnings)
    assert any("not all of them are finished" in w for w in comparison.warnings)


def test_one_seed_is_said_to_be_one(tmp_path: Path) -> None:
    record = read_record(find_place(WrittenRun(tmp_path / "a").write()))
    warnings = compare([("a", record), ("again", record)]).warnings
    assert warnings[0].startswith("one seed")


def test_what_was_told_otherwise_is_named_and_nothing_else(tmp_path: Path) -> None:
    first = WrittenRun(tmp_path / "a", rounds=3).write()
    second = WrittenRun(tmp_path / "b", rounds=5, aggregation="median").write()
    told = [told_of(find_place(path)) for path in (first, second)]
    assert [(d.name, d.first, d.second) for d in differences(*told)] == [
        ("aggregation", "mean", "median"),
        ("rounds.rounds", "3", "5"),
    ]
    assert differences(told[0], told[0]) == []
    assert told[0]["bundle"]["personal"] == "front.*"
    assert "numpy" in told[0]["environment"]


def test_a_table_is_aligned_and_harmless() -> None:
    rows = [("x\x1b[2J\n", "1"), ("y", "1000\N{NO-BREAK SPACE}B")]
    lines = aligned(("a", "number"), rows, right=(1,))
    assert lines == [
        f"{'a':10}  number",
        "x\\x1b[2J\\n       1",
        f"{'y':10}  1000 B",
    ]


def test_a_curve_in_a_line() -> None:
    assert spark_line([0.0, 0.5, 1.0, None], 0.0, 1.0) == "\u2581\u2585\u2588\N{MIDDLE DOT}"
    assert len(spark_line([0.5] * 1000, 0.0, 1.0)) <= 40
    assert spark_line([0.5, float("nan")], 0.5, 0.5) == "\u2588\N{MIDDLE DOT}"
    assert spark_line([], 0.0, 1.0) == ""
