"""Data that grow while a device runs, and the part of them that is held out."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from pfedfrz_edge.data import CsvSettings, DataSettings, DeviceData, open_device_data
from pfedfrz_edge.data.source import hash_of_rows
from pfedfrz_protocol import ConfigurationError, InputSpec, LossSpec

SPEC, LOSS = InputSpec((2,), 3), LossSpec()


def opened(text: str, **more: object) -> DeviceData:
    return open_device_data(DataSettings(text, **more), SPEC, LOSS)  # type: ignore[arg-type]


def save(path: Path, samples: int, seed: int = 0) -> None:
    x = np.random.default_rng(seed).normal(size=(1000, 2)).astype(np.float32)[:samples]
    np.savez(path, x=x, y=np.arange(samples) % 3)
    os.utime(path, ns=(samples, samples))


def write(path: Path, rows: int) -> None:
    path.write_text("a,b,y\n" + "".join(f"{i},{i / 7},{i % 3}\n" for i in range(rows)))
    os.utime(path, ns=(rows, rows))


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_file_that_grew_is_read_and_one_that_did_not_is_not(tmp_path: Path, kind: str) -> None:
    path, put = tmp_path / f"train.{kind}", {"npz": save, "csv": write}[kind]
    put(path, 5)
    data = opened(f"{kind}:{path}")
    first = data.latest()
    assert data.latest() is first
    put(path, 9)
    second = data.latest()
    assert (len(first.train), len(second.train)) == (5, 9)
    np.testing.assert_array_equal(first.train.x, second.train.x[:5])
    np.testing.assert_allclose(second.label_shares, [3 / 9] * 3)


def test_held_out_samples_stay_held_out_as_data_grow(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    write(path, 20)
    data = opened(f"csv:{path}", hold_out=0.25)
    measured: set[bytes] = set()
    trained: set[bytes] = set()
    for rows in (20, 100, 999):
        write(path, rows)
        now = data.latest()
        assert now.test is not None
        assert len(now.train) + len(now.test) == rows
        held, kept = ({row.tobytes() for row in part.x} for part in (now.test, now.train))
        assert held >= measured
        assert kept >= trained
        measured, trained = held, kept
    assert 200 < len(measured) < 300


def test_the_same_sample_is_on_one_side_wherever_it_is(tmp_path: Path) -> None:
    """Also when the oldest are dropped, the order changes, or it is there twice."""
    save(tmp_path / "a.npz", 200)
    held = opened(f"{tmp_path}/a.npz", hold_out=0.3).latest().test
    with np.load(tmp_path / "a.npz") as arrays:
        order = np.random.default_rng(1).permutation(np.repeat(np.arange(100, 200), 2))
        np.savez(tmp_path / "b.npz", x=arrays["x"][order], y=arrays["y"][order])
    again = opened(f"{tmp_path}/b.npz", hold_out=0.3).latest()
    assert held is not None
    assert again.test is not None
    known = {row.tobytes() for row in held.x}
    assert {row.tobytes() for row in again.test.x} <= known
    assert not {row.tobytes() for row in again.train.x} & known


def test_the_hash_of_a_sample_is_the_same_everywhere() -> None:
    """A split made on one board must be that of its replacement."""
    x = np.float32([[1, 2], [0, -1]])
    assert hash_of_rows(x).tolist() == [7373934272132878346, 15716291701786931840]


def test_the_newest_of_an_archive_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", 10)
    whole = opened(f"{tmp_path}/a.npz").latest().train
    kept = opened(f"{tmp_path}/a.npz", max_samples=4).latest().train
    np.testing.assert_array_equal(kept.x, whole.x[-4:])
    np.testing.assert_array_equal(kept.y, whole.y[-4:])
    assert kept.x.base is None


@pytest.mark.parametrize("how", ["gone", "broken", "other model"])
def test_a_source_that_breaks_keeps_the_last_good_data_and_says_so_once(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "train.npz"
    save(path, 5)
    data = opened(str(path))
    first = data.latest()
    if how == "gone":
        path.unlink()
    elif how == "broken":
        path.write_bytes(b"PK\x03\x04 no more")
        os.utime(path, (1, 1))
    else:
        np.savez(path, x=np.ones((3, 7), np.float32), y=np.zeros(3, int))
        os.utime(path, (1, 1))
    caplog.clear()
    for _ in range(3):
        assert data.latest() is first
    (complaint,) = caplog.records
    assert complaint.getMessage().startswith(f"{path}: ")
    assert complaint.getMessage().endswith("; going on with the 5 samples from before")
    assert complaint.levelno == logging.WARNING
    save(path, 8)
    assert len(data.latest().train) == 8
    said = [record.getMessage() for record in caplog.records[1:]]
    assert said == [f"{path}: can be read again", f"{path}: 8 samples to train on"]


def test_an_archive_that_is_still_written_is_left_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train.npz"
    save(path, 5)
    data = opened(str(path))
    first = data.latest()
    caplog.clear()
    path.write_bytes(path.read_bytes()[:100])  # just now
    assert data.latest() is first
    assert caplog.records == []
    save(path, 6)
    assert len(data.latest().train) == 6


def test_the_samples_that_are_measured_on_may_grow_too(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", 5)
    save(tmp_path / "t.npz", 2)
    data = opened(f"{tmp_path}/a.npz", test=f"{tmp_path}/t.npz")
    train = data.latest().train
    save(tmp_path / "t.npz", 4)
    now = data.latest()
    assert now.test is not None
    assert len(now.test) == 4
    assert now.train is train


def test_a_source_without_samples_waits_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.csv"
    write(path, 0)
    data = opened(f"csv:{path}", hold_out=0.5, csv=CsvSettings())
    assert len(data.latest().train) == 0
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: no samples yet; waiting for the first"
    ]
    write(path, 50)
    assert len(data.latest().train) > 10


@pytest.mark.parametrize("text", ["none.npz", "csv:none.csv", "folder:none", "factory:none.py:f"])
def test_a_source_that_is_not_there_at_the_start_is_refused(tmp_path: Path, text: str) -> None:
    settings = DataSettings(text).below(tmp_path)
    with pytest.raises(ConfigurationError, match="none") as caught:
        open_device_data(settings, InputSpec((1, 2, 2), 2), LOSS)
    assert "\n" not in str(caught.value)


def test_what_is_kept_fits_into_a_quarter_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfedfrz_edge.data.source.memory_of_machine", lambda: 4 * 8 * 10)
    write(tmp_path / "r.csv", 50)
    assert len(opened(f"csv:{tmp_path}/r.csv").latest().train) == 10
    assert len(opened(f"csv:{tmp_path}/r.csv", max_samples=99).latest().train) == 10
