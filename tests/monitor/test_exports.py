"""What other programs read of a run is what the run was."""

from __future__ import annotations

import csv
import io
import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from written_journals import BEGAN, WrittenRun

from pfedfrz_monitor.exports import export_run
from pfedfrz_monitor.report import RunRecord
from pfedfrz_monitor.runs import find_place, read_record
from pfedfrz_protocol import ConfigurationError


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return read_record(find_place(WrittenRun(tmp_path / "state").write()))


def test_csv_has_every_round_device_and_refusal(record: RunRecord, tmp_path: Path) -> None:
    files = export_run(record, "csv", tmp_path / "out")
    assert [file.name for file in files] == ["rounds.csv", "devices.csv", "refusals.csv"]
    rounds, devices, refusals = (
        list(csv.DictReader(io.StringIO(f.read_text(), newline=""))) for f in files
    )
    assert [row["round"] for row in rounds] == ["1", "2", "3"]
    assert rounds[0]["train_s"] == "9"
    assert float(rounds[1]["opened_unix_s"]) == pytest.approx(BEGAN + 10.0, abs=0.001)
    assert len(devices) == 9
    bob = next(row for row in devices if (row["device"], row["round"]) == ("bob", "2"))
    assert (bob["attacker"], bob["update_norm"], bob["update_cosine"]) == ("", "2", "-0.25")
    assert (bob["outcome"], bob["uplink_bytes"], bob["local"]) == ("accepted", "250", "0.75")
    (refused,) = refusals
    assert (refused["device"], refused["reason"]) == ("cyd", "not-finite")
    assert refused["detail"] == "a NaN in head"


def test_parquet_reads_back_with_its_types(record: RunRecord, tmp_path: Path) -> None:
    from pyarrow import parquet, types

    files = {f.stem: f for f in export_run(record, "parquet", tmp_path / "out")}
    devices = parquet.read_table(files["devices"])
    rows = devices.to_pylist()
    assert len(rows) == 9
    cyd = next(row for row in rows if (row["device"], row["round"]) == ("cyd", 2))
    assert (cyd["outcome"], cyd["update_norm"], cyd["attacker"]) == ("rejected", None, None)
    assert cyd["local"] == pytest.approx(0.8)
    assert types.is_boolean(devices.schema.field("attacker").type)
    assert types.is_int64(devices.schema.field("uplink_bytes").type)
    assert json.loads(devices.schema.metadata[b"pfedfrz.summary"])["federation"] == "lab"
    assert parquet.read_table(files["refusals"]).num_rows == 1
    rounds = parquet.read_table(files["rounds"]).to_pylist()
    assert rounds[2]["closed_unix_s"] == pytest.approx(BEGAN + 30.0)


def events_of(folder: Path) -> list[tuple[str, int, float, float]]:
    """(tag, step, value, wall time) of every scalar: length, checksum, event, checksum each."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events.out.tfevents.*")
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event()
        event.ParseFromString(content[12 : 12 + length])
        content = content[12 + length + 4 :]
        for value in event.summary.value:
            found.append((value.tag, event.step, value.simple_value, event.wall_time))
    return found


def test_tensorboard_has_scalars_by_round_at_the_run_s_own_times(
    record: RunRecord, tmp_path: Path
) -> None:
    files = export_run(record, "tensorboard", tmp_path / "out")
    assert len(files) == 4
    run = events_of(tmp_path / "out" / "run")
    local = [(step, value, wall) for tag, step, value, wall in run if tag == "accuracy/local_mean"]
    assert [step for step, _, _ in local] == [1, 2, 3]
    assert [value for _, value, _ in local] == pytest.approx([0.65, 0.75, 0.85])
    assert [wall for _, _, wall in local] == pytest.approx([BEGAN + s for s in (10, 20, 30)])
    cyd = events_of(tmp_path / "out" / "devices" / "cyd")
    assert [step for tag, step, _, _ in cyd if tag == "update/norm"] == [1, 3]
    with pytest.raises(ConfigurationError, match="has event files already"):
        export_run(record, "tensorboard", tmp_path / "out")


def test_a_name_that_leads_elsewhere_is_no_directory(record: RunRecord, tmp_path: Path) -> None:
    devices = (replace(record.devices[0], device="../../escaped"),)
    foreign = replace(record, devices=devices, closing=None)
    with pytest.raises(ConfigurationError, match="is not usable"):
        export_run(foreign, "tensorboard", tmp_path / "out")
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [("parquet", "pyarrow", "parquet"), ("tensorboard", "tensorboardX", "tensorboard")],
)
def test_a_missing_package_is_one_line(
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    package: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"{package}.*pip install 'pfedfrz\[{extra}\]'"):
        export_run(record, kind, tmp_path / "out")


def test_a_run_without_a_round_is_empty_tables(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write(closed=0, evaluated=False)
    empty = read_record(find_place(state))
    for kind in ("csv", "parquet"):
        assert len(export_run(empty, kind, tmp_path / kind)) == 3


def test_what_a_device_said_is_no_formula_in_a_spreadsheet(
    record: RunRecord, tmp_path: Path
) -> None:
    said = "=cmd|' /C calc'!A1"
    hostile = replace(record, refusals=(replace(record.refusals[0], detail=said),))
    refusals = export_run(hostile, "csv", tmp_path / "out")[2]
    (row,) = csv.DictReader(io.StringIO(refusals.read_text(), newline=""))
    assert row["detail"] == f"'{said}"
