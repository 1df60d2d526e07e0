from __future__ import annotations

from dataclasses import replace

from pfedfrz_monitor.report import RunRecord
from pfedfrz_monitor.report.device_table import MIX_LEVELS, device_table, mix_level


def test_the_shade_grows_with_the_share() -> None:
    levels = [mix_level(share / 100) for share in range(101)]
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[1] >= 1
    assert levels[100] == MIX_LEVELS
    assert mix_level(1e-6) == 1
    assert mix_level(float("nan")) == 0


def test_every_device_has_a_row_and_every_label_a_cell(record: RunRecord) -> None:
    rows = list(device_table(record).iterfind("tbody/tr"))
    assert len(rows) == 3
    for row, device in zip(rows, record.devices, strict=True):
        cells = [cell for cell in row if "mix" in cell.get("class", "")]
        assert len(cells) == 2
        assert row.find("th") is not None
        assert "".join(row[0].itertext()).startswith(device.device)
    assert rows[0][-2].attrib["title"] == "label 0: 75.0\N{NO-BREAK SPACE}%"


def test_attackers_are_marked_by_a_word(record: RunRecord) -> None:
    rows = list(device_table(record).iterfind("tbody/tr"))
    assert ["attacker" in "".join(row.itertext()) for row in rows] == [False, True, False]
    assert [row.get("class") for row in rows] == [None, "attacker", None]


def test_a_missing_accuracy_is_a_dash(record: RunRecord) -> None:
    rows = list(device_table(replace(record, closing=None)).iterfind("tbody/tr"))
    texts = ["".join(cell.itertext()) for cell in rows[2] if "number" in cell.get("class", "")]
    assert texts == ["50", "\N{EN DASH}", "90.0\N{NO-BREAK SPACE}%"]
