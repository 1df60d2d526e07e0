"""The update that waits to be accepted, on disk.

An MQTT client's queue lives in memory; after a power cut the device uploads again from here
instead of training again.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import LocalReport, OperationError, sha256_hex
from pfedfrz_storage import remove_leftovers, write_atomically

__all__ = ["Outbox", "PendingUpdate"]


class PendingUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained update that no coordinator has settled yet."""

    round: int
    base: str
    """Digest of the model that it was trained from."""
    report: LocalReport
    payload: bytes
    """The encoded shared tensors."""


class Outbox:
    """Holds at most one pending update."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "pending-update.msgpack"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OperationError(f"cannot make {directory}: {error.strerror}") from error
        remove_leftovers(directory)

    def put(self, update: PendingUpdate) -> None:
        """Keep `update` durably, in place of any other."""
        body = msgspec.msgpack.encode(update)
        write_atomically(self._path, sha256_hex(body).encode() + body, mode=0o600)

    def get(self) -> PendingUpdate | None:
        """The pending update; None when there is none, or none that verifies.

        A damaged one costs only work: the round is trained again.
        """
        try:
            data = self._path.read_bytes()
            digest, body = data[:64], data[64:]
            if sha256_hex(body).encode() != digest:
                return None
            return msgspec.msgpack.decode(body, type=PendingUpdate)
        except (OSError, msgspec.DecodeError):
            return None

    def clear(self) -> None:
        """Forget the pending update."""
        self._path.unlink(missing_ok=True)
