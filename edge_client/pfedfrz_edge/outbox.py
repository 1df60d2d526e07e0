"""The update that waits to be accepted, on disk, and the last round whose update was settled.

An MQTT client's queue lives in memory; after a power cut the device uploads again from here
instead of training again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from pfedfrz_protocol import LocalReport, OperationError, sha256_hex
from pfedfrz_storage import remove_leftovers, write_atomically

__all__ = ["Outbox", "PendingUpdate", "SettledRound"]


class PendingUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained update that no coordinator has settled yet."""

    round: int
    base: str
    """Digest of the model that it was trained from."""
    report: LocalReport
    payload: bytes
    """The encoded shared tensors."""


class SettledRound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A round that needs nothing more from this device, as it was announced in this epoch.

    Without it a device that is started anew would train for a round that has its update.
    """

    round: int
    epoch: int


Record = TypeVar("Record", PendingUpdate, SettledRound)


class Outbox:
    """Holds at most one pending update and one settled round."""

    def __init__(self, directory: Path) -> None:
        self._pending = directory / "pending-update.msgpack"
        self._settled = directory / "settled-round.msgpack"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OperationError(f"cannot make {directory}: {error.strerror}") from error
        remove_leftovers(directory)

    def put(self, update: PendingUpdate) -> None:
        """Keep `update` durably, in place of any other."""
        _write(self._pending, update)

    def get(self) -> PendingUpdate | None:
        """The pending update; None when there is none, or none that verifies.

        A damaged one costs only work: the round is trained again.
        """
        return _read(self._pending, PendingUpdate)

    def clear(self) -> None:
        """Forget the pending update."""
        try:
            self._pending.unlink(missing_ok=True)
        except OSError as error:
            raise OperationError(f"cannot remove {self._pending}: {error.strerror}") from error

    def settle(self, settled: SettledRound) -> None:
        """Keep durably that a round is settled, in place of any other."""
        _write(self._settled, settled)

    def settled(self) -> SettledRound | None:
        """The last settled round; None when there is none, or none that verifies."""
        return _read(self._settled, SettledRound)


def _write(path: Path, record: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(record)
    write_atomically(path, sha256_hex(body).encode() + body, mode=0o600)


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        data = path.read_bytes()
        digest, body = data[:64], data[64:]
        if sha256_hex(body).encode() != digest:
            return None
        return msgspec.msgpack.decode(body, type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
