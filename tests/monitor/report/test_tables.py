from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from pfedfrz_monitor.report import RunRecord, encode_devices, encode_rounds
from pfedfrz_monitor.report.tables import DEVICE_COLUMNS, ROUND_COLUMNS


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_there_is_a_row_per_round(record: RunRecord) -> None:
    first, second = rows(encode_rounds(record))
    assert tuple(first) == ROUND_COLUMNS
    assert (first["round"], first["accepted"], first["uplink_bytes"]) == ("1", "3", "300")
    assert float(first["received_mean"]) == pytest.approx(0.3)
    assert float(first["received_std"]) == pytest.approx(0.1)
    assert float(first["local_min"]) == pytest.approx(0.4)
    assert float(first["local_max"]) == pytest.approx(0.6)
    assert float(second["local_mean"]) == pytest.approx(0.85)
    assert second["rejected"] == "2"


def test_a_diverged_loss_and_a_missing_one_are_empty_cells(record: RunRecord) -> None:
    missing = tuple(replace(row, train_loss=None) for row in record.rounds)
    assert rows(encode_rounds(record))[1]["train_loss_mean"] == ""
    assert rows(encode_rounds(replace(record, rounds=missing)))[0]["train_loss_mean"] == ""


def test_there_is_a_row_per_round_and_device(record: RunRecord) -> None:
    table = rows(encode_devices(record))
    assert tuple(table[0]) == DEVICE_COLUMNS
    assert [(row["round"], row["device"]) for row in table] == [
        (number, device) for number in ("1", "2") for device in ("d1", "d2", "d3")
    ]
    assert table[1]["attacker"] == "1"
    assert (table[5]["received"], table[5]["local"]) == ("", "0.9")


def test_a_name_with_a_comma_stays_one_cell(record: RunRecord) -> None:
    named = replace(record.devices[0], device='kitchen, "left"')
    table = rows(encode_devices(replace(record, devices=(named, *record.devices[1:]))))
    assert table[0]["device"] == 'kitchen, "left"'
