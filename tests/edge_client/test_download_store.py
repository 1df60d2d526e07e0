"""Chunks of the newest model on the disk."""

import logging
from pathlib import Path

import pytest

from pfedfrz_edge.download_store import DownloadStore, StoredDownload
from pfedfrz_protocol import CHUNK_BYTES, describe_transfer

A, B = describe_transfer(b"a" * 300_000), describe_transfer(b"b")
LIMIT = 1 << 20


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path) -> None:
    store = DownloadStore(tmp_path)
    assert store.load(LIMIT) is None
    store.keep(A, 0, b"first")
    store.keep(A, 1, b"second")
    assert DownloadStore(tmp_path).load(LIMIT) == StoredDownload(A, {0: b"first", 1: b"second"})


def test_another_transfer_takes_the_place(tmp_path: Path) -> None:
    store = DownloadStore(tmp_path)
    store.keep(A, 1, b"old")
    store.keep(B, 0, b"b")
    again = DownloadStore(tmp_path)
    assert again.load(LIMIT) == StoredDownload(B, {0: b"b"})
    again.keep(B, 0, b"b")
    assert DownloadStore(tmp_path).load(LIMIT) == StoredDownload(B, {0: b"b"})


def test_more_than_fits_is_not_read(tmp_path: Path) -> None:
    store = DownloadStore(tmp_path)
    store.keep(A, 0, b"first")
    assert DownloadStore(tmp_path).load(299_999) is None


def test_a_damaged_folder_is_as_good_as_none(tmp_path: Path) -> None:
    store = DownloadStore(tmp_path)
    store.keep(A, 0, b"first")
    (tmp_path / "download" / "transfer.json").write_text("{")
    assert DownloadStore(tmp_path).load(LIMIT) is None


def test_a_disk_that_refuses_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "download").write_text("a file where the folder should be")
    store = DownloadStore(tmp_path / "download" / "below")
    with caplog.at_level(logging.WARNING):
        store.keep(A, 0, b"x")
        store.keep(A, 1, b"x")
    assert caplog.text.count("are not kept for the next start") == 1


def test_a_chunk_longer_than_a_chunk_is_not_read(tmp_path: Path) -> None:
    DownloadStore(tmp_path).keep(A, 0, bytes(CHUNK_BYTES + 1))
    assert DownloadStore(tmp_path).load(LIMIT) is None


def test_a_small_transfer_is_read_and_one_with_too_many_chunks_is_not(tmp_path: Path) -> None:
    store = DownloadStore(tmp_path)
    store.keep(B, 0, b"b")
    assert DownloadStore(tmp_path).load(1) == StoredDownload(B, {0: b"b"})
    store.keep(B, 1, b"")
    assert DownloadStore(tmp_path).load(1) is None
