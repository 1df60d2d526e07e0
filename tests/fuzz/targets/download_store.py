"""What a device finds of a download: the reference, and files named as chunks."""

from __future__ import annotations

import shutil

import msgspec
from recipe import Recipe, scratch

from pfedfrz_edge.download_store import DownloadStore
from pfedfrz_edge.model_download import ModelDownload
from pfedfrz_protocol import CHUNK_BYTES, TransferReference, describe_transfer

LIMIT = 3 * CHUNK_BYTES
NAMES = (
    "000000000", "000000001", "000000002", "-1", "-00000001", "999999999", "١", " 1", "1_0", "x", "",
    "+1", "0x1", "9" * 200,
)  # fmt: skip


def target(data: bytes) -> None:
    """Count, then for each file its name and length; the rest is the reference."""
    recipe = Recipe(data)
    state = scratch() / "downloads"
    shutil.rmtree(state, ignore_errors=True)
    folder = state / "download"
    folder.mkdir(parents=True)
    for _ in range(recipe.number() % 8):
        name, size = NAMES[recipe.number() % len(NAMES)], recipe.number()
        (folder / f"{name}.chunk").write_bytes(
            bytes(CHUNK_BYTES + 1 if size == 255 else CHUNK_BYTES if size == 254 else size)
        )
    (folder / "transfer.json").write_bytes(recipe.rest())
    stored = DownloadStore(state).load(LIMIT)
    if stored is None:
        return
    assert stored.transfer.payload_bytes <= LIMIT
    assert sum(map(len, stored.chunks.values())) <= 2 * LIMIT
    payload = ModelDownload(stored.transfer, LIMIT).resume(stored.chunks)
    assert payload is None or describe_transfer(payload) == stored.transfer


def seeds() -> dict[str, bytes]:
    small = msgspec.json.encode(describe_transfer(bytes(10)))
    large = msgspec.json.encode(describe_transfer(bytes(CHUNK_BYTES + 10)))
    return {
        "whole": bytes([1, 0, 10]) + small,
        "two": bytes([2, 0, 254, 1, 10]) + large,
        "negative": bytes([2, 3, 254, 0, 254]) + large,
        "names": bytes([7, 5, 1, 6, 1, 7, 1, 8, 1, 9, 1, 10, 1, 13, 1]) + large,
        "oversized": bytes([1, 0, 255]) + large,
        "wrong-digest": bytes([1, 0, 11]) + msgspec.json.encode(TransferReference(11, "0" * 64)),
        "claim": bytes([0]) + msgspec.json.encode(TransferReference(1 << 48, "0" * 64)),
        "bad-utf-8": bytes([0]) + b'{"sha256":"\xff"}',
        "deep": bytes([0]) + b"[" * 1500,
        "negative-length": bytes([0]) + small.replace(b":10", b":-10"),
        "duplicated-keys": bytes([0]) + small.replace(b"{", b'{"payload_bytes":1,'),
        "empty": b"",
    }
