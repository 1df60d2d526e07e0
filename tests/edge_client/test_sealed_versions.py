"""Numbered files with notes that are vouched for, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pfedfrz_edge.sealed_versions import SealedVersions, load_sealed
from pfedfrz_protocol import Parameters
from pfedfrz_storage import DamagedFile, load_tensors, save_tensors

WEIGHTS = {"head": np.arange(6, dtype=np.float32)}


def number(weights: Parameters, notes: dict[str, str]) -> int:
    return int(notes["number"])


def test_the_numbers_grow_and_the_newest_two_stay_for_their_owner_alone(tmp_path: Path) -> None:
    versions = SealedVersions(tmp_path, "model")
    for value in range(1, 4):
        versions.save(WEIGHTS, {"number": str(value)})
    assert [path.name for path in versions.files()] == [
        "model-000000003.safetensors",
        "model-000000002.safetensors",
    ]
    assert [load_sealed(path, number) for path in versions.files()] == [3, 2]
    assert {path.stat().st_mode & 0o777 for path in versions.files()} == {0o600}


def test_a_copy_and_another_kind_beside_them_are_neither_read_nor_removed(tmp_path: Path) -> None:
    versions = SealedVersions(tmp_path, "model")
    beside = ["model-000000009.copy.safetensors", "model-9.safetensors", "model-new.safetensors"]
    for name in beside:
        (tmp_path / name).write_bytes(b"")
    SealedVersions(tmp_path, "personal").save(WEIGHTS, {})
    for value in range(3):
        versions.save(WEIGHTS, {"number": str(value)})
    assert [load_sealed(path, number) for path in versions.files()] == [2, 1]
    assert all((tmp_path / name).exists() for name in beside)
    assert len(SealedVersions(tmp_path, "personal").files()) == 1


@pytest.mark.parametrize("is_sealed", [True, False])
def test_notes_other_than_those_that_were_sealed_are_damage(
    tmp_path: Path, is_sealed: bool
) -> None:
    versions = SealedVersions(tmp_path, "model")
    versions.save(WEIGHTS, {"number": "3"})
    (path,) = versions.files()
    seal = {"seal": load_tensors(path)[1]["seal"]} if is_sealed else {}
    save_tensors(path, WEIGHTS, {"number": "7", **seal})
    with pytest.raises(DamagedFile) as caught:
        load_sealed(path, number)
    said = "they are not the ones that were written"
    assert str(caught.value) == f"{path} is damaged: of its notes, {said}"


@pytest.mark.parametrize(
    ("notes", "says"),
    [({"number": "x"}, "invalid literal for int() with base 10: 'x'"), ({}, "'number'")],
)
def test_notes_that_are_not_understood_are_damage(
    tmp_path: Path, notes: dict[str, str], says: str
) -> None:
    versions = SealedVersions(tmp_path, "model")
    versions.save(WEIGHTS, notes)
    (path,) = versions.files()
    with pytest.raises(DamagedFile) as caught:
        load_sealed(path, number)
    assert str(caught.value) == f"{path} is damaged: of its notes, {says}"
