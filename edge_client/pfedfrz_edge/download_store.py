"""The chunks of the newest model on the disk: a device that starts again fetches only the rest.

They are shared weights, which anybody on the broker can read, and are verified as a whole by the
digest that the coordinator announces: so they are written without ceremony. A model that is here
whole is not fetched at all.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import CHUNK_BYTES, TransferReference, chunk_count, decode_json

__all__ = ["DownloadStore", "StoredDownload"]

log = logging.getLogger(__name__)
_REFERENCE = "transfer.json"


@dataclass(frozen=True)
class StoredDownload:
    """What is on the disk of a transfer."""

    transfer: TransferReference
    chunks: dict[int, bytes]


class DownloadStore:
    """Holds the chunks of at most one transfer, in a folder of its own."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "download"
        self._transfer: TransferReference | None = None
        self._told = False

    def load(self, limit_bytes: int) -> StoredDownload | None:
        """What is there; None when that is nothing, unreadable, or more than `limit_bytes`."""
        try:
            reference = (self._folder / _REFERENCE).read_bytes()
            transfer = decode_json(reference, TransferReference)
            files = sorted(self._folder.glob("*.chunk"))
            if transfer.payload_bytes > limit_bytes:
                return None
            if len(files) > chunk_count(transfer.payload_bytes):
                return None
            if any(file.stat().st_size > CHUNK_BYTES for file in files):
                return None
            chunks = {int(file.stem): file.read_bytes() for file in files}
        except (OSError, ValueError, msgspec.DecodeError):
            return None
        self._transfer = transfer
        return StoredDownload(transfer, chunks)

    def keep(self, transfer: TransferReference, number: int, chunk: bytes) -> None:
        """Keep a chunk; those of any other transfer are forgotten. A full disk is said once."""
        try:
            if transfer != self._transfer:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self._folder / _REFERENCE).write_bytes(msgspec.json.encode(transfer))
                self._transfer = transfer
            (self._folder / f"{number:09d}.chunk").write_bytes(chunk)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("models are not kept for the next start: %s", error)
