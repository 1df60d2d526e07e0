"""Samples to predict, from files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pfedfrz_edge.use import load_samples
from pfedfrz_protocol import ConfigurationError, InputSpec

SPEC = InputSpec((6,), 3)
X = np.arange(12, dtype=np.float32).reshape(2, 6)


def test_an_archive_with_x_and_a_bare_array_are_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=np.zeros(2))
    np.save(tmp_path / "a.npy", X)
    for name in ("a.npz", "a.npy"):
        np.testing.assert_array_equal(load_samples(tmp_path / name, SPEC), X)


def test_one_sample_needs_no_first_axis_and_bytes_are_scaled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full(6, 51, np.uint8))
    np.testing.assert_allclose(load_samples(tmp_path / "a.npy", SPEC), np.full((1, 6), 0.2))


def lying_header() -> bytes:
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 6), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a readable"),
        (b"PK\x03\x04", "not a readable"),
        (lying_header(), "not a readable"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_samples(path, SPEC)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 7), np.float32), r"shape \(2, 7\); the bundle's model takes samples of"),
        (np.zeros((0, 6), np.float32), "one or more"),
        (np.float32(1), "shape"),
        (np.zeros((2, 6)), "samples are float64; save float32 or uint8"),
        (np.full((2, 6), np.nan, np.float32), "NaN"),
    ],
)
def test_what_does_not_fit_the_model_is_said(tmp_path: Path, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ConfigurationError, match=says):
        load_samples(tmp_path / "a.npy", SPEC)


def test_no_file_and_no_x_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_samples(tmp_path / "a.npz", SPEC)
    np.savez(tmp_path / "a.npz", samples=X)
    with pytest.raises(ConfigurationError, match="no array 'x'"):
        load_samples(tmp_path / "a.npz", SPEC)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ConfigurationError, match="not a readable"):
        load_samples(tmp_path / "a.npy", SPEC)
