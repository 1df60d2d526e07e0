from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pfedfrz_emulator.splits import FileSplit, Split
from pfedfrz_protocol import ConfigurationError

LABELS = np.arange(12) % 3


def split(path: Path, devices: int = 2, samples: int = 3) -> Split:
    return FileSplit(str(path)).split_labels(LABELS, devices, samples, 3, 0)


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_rows_are_taken_as_listed(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"indices": [[0, 7, 4], [5, 9, 11]]})
    found = split(file)
    assert [own.tolist() for own in found.indices] == [[0, 7, 4], [5, 9, 11]]
    assert found.notes == ()


def test_other_sizes_than_asked_for_are_said(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"indices": [[0, 7, 4, 1], [5, 9]]})
    assert split(file).notes == (f"devices hold 2 to 4 samples, as {file} says, not 3",)


def test_owners_are_read_from_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", owner=np.array([0, 0, 1, -1, 1, 0, -1, -1, -1, -1, -1, 1]))
    found = split(tmp_path / "s.npz")
    assert [own.tolist() for own in found.indices] == [[0, 1, 5], [2, 4, 11]]


def test_labels_are_dealt_to_the_devices_that_hold_them(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"labels": [[2, 0], [1, 2]]})
    found = split(file, samples=4)
    assert [np.bincount(LABELS[own], minlength=3).tolist() for own in found.indices] == [
        [2, 0, 2],
        [0, 2, 2],
    ]
    assert len(np.unique(np.concatenate(found.indices))) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`"),
        ({}, 'want {"indices": [[...], ...]} or'),
        ({"indices": [[0, 1], [2, 3]], "labels": [[0], [1]]}, 'want {"indices"'),
        ({"rows": []}, "unknown field `rows`"),
        ({"indices": [[0, 1]]}, "it is for 1 devices, not 2"),
        ({"indices": [[0, 1], [2]]}, "device 1 has 1 samples; want 2"),
        ({"indices": [[0, 1], []]}, "device 1 has 0 samples; want 2"),
        ({"indices": [[0, 1], [2, 12]]}, "device 1: rows run from 2 to 12, the training set"),
        ({"indices": [[0, -1], [2, 3]]}, "Expected `int` >= 0"),
        ({"indices": [[0, 1], [1, 3]]}, "row 1 occurs more than once"),
        ({"indices": [[0, 1.5], [1, 3]]}, "Expected `int`"),
        ({"indices": [[0, 2**62], [1, 3]]}, "device 0: rows run from 0 to 4611686018427387904"),
        ({"indices": [[0, 2**70], [1, 3]]}, "Expected `int` <= "),
        ({"labels": [[0], []]}, "device 1 has no label, or one twice"),
        ({"labels": [[0, 0], [1]]}, "device 0 has no label, or one twice"),
        ({"labels": [[0], [3]]}, "device 1: labels go from 0 to 2"),
        ({"labels": [[0], [-1]]}, "Expected `int` >= 0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: object, said: str) -> None:
    file = written(tmp_path / "s.json", content)
    with pytest.raises(ConfigurationError) as refusal:
        split(file)
    assert str(refusal.value).startswith(f"split {file}: ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "it holds nothing; want one array, owner"),
        ({"owner": np.zeros(12, int), "x": np.zeros(1)}, "it holds owner, x; want"),
        ({"owner": np.zeros(11, int)}, "owner is int64 (11,); want whole numbers (12,)"),
        ({"owner": np.zeros(12)}, "owner is float64 (12,)"),
        ({"owner": np.full(12, 2)}, "owner runs from 2 to 2; want -1 to 1"),
        ({"owner": np.full(12, -2)}, "owner runs from -2"),
        ({"owner": np.zeros(12, int)}, "device 1 has 0 samples"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(
    tmp_path: Path,
    arrays: dict[str, np.ndarray],
    said: str,  # type: ignore[type-arg]
) -> None:
    file = tmp_path / "s.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as refusal:
        split(file)
    assert str(refusal.value).startswith(f"split {file}: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.npz"])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        split(tmp_path / name)


def test_a_file_that_is_no_archive_is_said(tmp_path: Path) -> None:
    file = written(tmp_path / "s.npz", "no zip")
    with pytest.raises(ConfigurationError, match=r"not a readable \.npz file"):
        split(file)


def test_an_archive_that_is_encrypted_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, owner=np.zeros(9, np.int64))
    content = path.read_bytes()
    flags = content.index(b"PK\x01\x02") + 8
    path.write_bytes(content[:flags] + b"\x01" + content[flags + 1 :])
    with pytest.raises(ConfigurationError, match=r"not a readable \.npz file: .*encrypted"):
        split(path)
