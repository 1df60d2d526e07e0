import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pfedfrz_protocol import OperationError, tensors_digest
from pfedfrz_storage import DamagedFile, load_tensors, save_tensors

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.float32)}


def test_tensors_and_notes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, TENSORS, {"round": "3"})
    tensors, notes = load_tensors(path)
    assert notes == {"round": "3"}
    assert tensors.keys() == TENSORS.keys()
    for name in TENSORS:
        assert tensors[name].shape == TENSORS[name].shape
        np.testing.assert_array_equal(tensors[name], TENSORS[name])


def test_every_single_flipped_data_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, TENSORS, {})
    good = path.read_bytes()
    for position in range(len(good) - 28, len(good)):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        with pytest.raises(DamagedFile, match=r"w\.safetensors"):
            load_tensors(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(8), b"\x05" + bytes(7) + b"[1,2]"])
def test_what_is_not_such_a_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        load_tensors(path)


def test_metadata_nested_without_end_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = b'{"__metadata__":' + b"[" * 5000 + b"]" * 5000 + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DamagedFile):
        load_tensors(path)


def test_tensors_of_another_dtype_are_damage_though_their_digest_fits(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    halves = {"w": np.ones(3, np.float16)}
    path.write_bytes(safetensors.numpy.save(halves, {"pfedfrz.digest": tensors_digest(halves)}))  # type: ignore[arg-type]
    with pytest.raises(DamagedFile, match="not float32"):
        load_tensors(path)


@pytest.mark.parametrize("name", ["none", "."])
def test_what_cannot_be_read_is_said_and_not_called_damaged(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationError, match="cannot be read") as caught:
        load_tensors(tmp_path / name)
    assert not isinstance(caught.value, DamagedFile)


def test_a_passing_want_of_descriptors_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, TENSORS, {})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OperationError, match="Too many open files") as caught:
            load_tensors(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not isinstance(caught.value, DamagedFile)
    load_tensors(path)
