from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_emulator.datasets.idx import gunzip, parse_idx, read_idx
from pfedfrz_protocol import ConfigurationError

TWO_BY_THREE = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])


def test_content_is_read_in_c_order() -> None:
    assert parse_idx(TWO_BY_THREE, "f", 2).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("length", range(len(TWO_BY_THREE)))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match=r"^the-file: "):
        parse_idx(TWO_BY_THREE[:length], "the-file", 2)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (TWO_BY_THREE + b"\0", "needs 6 bytes of data, the file has 7"),
        (b"\x01" + TWO_BY_THREE[1:], "two zero bytes"),
        (TWO_BY_THREE[:2] + b"\x0d" + TWO_BY_THREE[3:], "element type 0x0d"),
        (TWO_BY_THREE[:3] + b"\x03" + TWO_BY_THREE[4:], "3 dimensions where 2"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0, 3]), "an empty array"),
        (bytes([0, 0, 8, 2]) + b"\xff" * 8, "needs 18446744065119617025 bytes"),
    ],
)
def test_a_fault_is_named(data: bytes, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        parse_idx(data, "f", 2)


@given(st.binary(max_size=64), st.integers(1, 4))
def test_arbitrary_bytes_are_an_array_or_a_configuration_error(data: bytes, ndim: int) -> None:
    try:
        array = parse_idx(data, "f", ndim)
    except ConfigurationError:
        return
    assert array.ndim == ndim
    assert array.tobytes() == data[4 + 4 * ndim :]


def test_plain_and_packed_files_have_the_same_content(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a", tmp_path / "b.gz"
    plain.write_bytes(TWO_BY_THREE)
    packed.write_bytes(gzip.compress(TWO_BY_THREE))
    assert read_idx(plain) == read_idx(packed) == TWO_BY_THREE


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent: No such file"):
        read_idx(tmp_path / "absent")


@pytest.mark.parametrize("cut", [1, 9, 12, 20])
def test_damaged_gzip_data_are_refused(cut: int) -> None:
    with pytest.raises(ConfigurationError, match=r"f: the gzip data is damaged"):
        gunzip(gzip.compress(TWO_BY_THREE)[:-cut], "f")


def test_a_decompression_bomb_stops_at_the_bound() -> None:
    with pytest.raises(ConfigurationError, match="more than 1000 bytes"):
        gunzip(gzip.compress(bytes(10_000_000)), "f", max_bytes=1000)
