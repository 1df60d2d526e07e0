"""What has come of an upload that was granted, and what is still to be asked for.

Whoever takes uploads, the coordinator or a worker of its, is bounded alike: in the bytes that may
come for one of them, and in how many of them are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pfedfrz_protocol import (
    CHUNK_BYTES,
    ProtocolError,
    Reassembly,
    RejectReason,
    TransferReference,
    spans_of,
)

from .quotas import Quotas

__all__ = ["GrantedUpload", "beyond_room"]

_KEPT_FOR_EACH_PLACE = 4


class GrantedUpload:
    """The chunks of one upload as they come in."""

    def __init__(self, transfer: TransferReference, limit_bytes: int) -> None:
        """Expect `transfer`; ProtocolError when it announces more than `limit_bytes`."""
        self.reassembly = Reassembly(transfer, limit_bytes)
        self.received_bytes = 0
        """Of chunks, those that came twice included."""
        self.is_complete = False
        """All is there: it may be assembled, and no more is taken."""

    @property
    def transfer(self) -> TransferReference:
        """What was announced."""
        return self.reassembly.transfer

    def take(self, number: int, chunk: bytes, quotas: Quotas) -> bool:
        """Take one chunk; whether the upload is complete with it.

        ProtocolError for a chunk that the transfer does not have, and for one too many.
        """
        announced = self.transfer.payload_bytes
        self.received_bytes += len(chunk)
        if self.received_bytes > quotas.upload_limit(announced, CHUNK_BYTES):
            raise ProtocolError(
                RejectReason.QUOTA_EXCEEDED, f"{self.received_bytes} bytes came for {announced}"
            )
        self.is_complete = self.reassembly.take(number, chunk)
        return self.is_complete

    def missing(self) -> tuple[tuple[int, int], ...]:
        """The chunks that a grant asks for, as spans; none stands for all of them."""
        return spans_of(self.reassembly.missing) if self.reassembly.held_bytes else ()


def beyond_room(
    devices: Iterable[str],
    uploads_at_once: int,
    is_awaited: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Of the devices whose uploads are kept, oldest first, those whose parts have to go.

    Parts of uploads whose grant expired are kept as long as there is room for them, and those that
    are awaited in any case.
    """
    kept = list(devices)
    surplus = len(kept) - _KEPT_FOR_EACH_PLACE * uploads_at_once
    if surplus <= 0:
        return []
    return [device for device in kept if not is_awaited(device)][:surplus]
