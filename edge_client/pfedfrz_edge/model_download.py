"""The download of one model version, chunk by chunk: decisions only.

Chunks are retained on the broker, so that a subscription to a chunk's own topic is a request for
it. A few are asked for at a time and each is let go when it has come: a connection that is cut
costs what was under way and never the whole, and a slow link is not flooded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pfedfrz_protocol import ProtocolError, Reassembly, RejectReason, TransferReference, chunk_count

__all__ = ["ModelDownload"]

_WINDOW = 4
"""Chunks asked for and not yet come."""
_START_OVER = 3
"""How often a model that came wrong is asked for again."""


class ModelDownload:
    """What has come of a transfer, and what to ask for next."""

    def __init__(self, transfer: TransferReference, limit_bytes: int) -> None:
        """ProtocolError when the transfer announces more than `limit_bytes`."""
        self.transfer = transfer
        self._reassembly = Reassembly(transfer, limit_bytes)
        self._count = chunk_count(transfer.payload_bytes)
        self._to_ask = deque(range(self._count))
        self._asked: set[int] = set()
        self._starts_left = _START_OVER

    @property
    def asked(self) -> tuple[int, ...]:
        """The chunks that are asked for and not let go."""
        return tuple(sorted(self._asked))

    def resume(self, chunks: Mapping[int, bytes]) -> bytes | None:
        """Take what was kept from before; the whole payload if that is all of it.

        What was kept and does not fit is forgotten: it costs another download at most.
        """
        payload = None
        for number, chunk in sorted(chunks.items()):
            try:
                payload = self._reassembly.add(number, chunk)
            except ProtocolError:
                self._reassembly = Reassembly(self.transfer, self.transfer.payload_bytes)
                return None
        self._to_ask = deque(self._reassembly.missing)
        return payload

    def ask_again(self) -> None:
        """Begin to ask anew for what is missing; what was asked for may have been lost."""
        self._asked = set()
        self._to_ask = deque(self._reassembly.missing or range(self._count))

    def ask(self) -> tuple[int, ...]:
        """The chunks to ask for now."""
        if not (self._to_ask or self._asked or self._reassembly.missing):
            # Everything came, and all of it once more, and it is wrong still.
            self._starts_left = max(0, self._starts_left - 1)
            self._to_ask = deque(range(self._count))
        more = list[int]()
        while self._to_ask and (len(self._asked) < _WINDOW or not self._starts_left):
            number = self._to_ask.popleft()
            self._asked.add(number)
            more.append(number)
        return tuple(more)

    def take(self, number: int, chunk: bytes) -> bytes | None:
        """A chunk that was asked for has come; the whole payload when it is complete and right.

        Raises ProtocolError for a chunk that does not fit, which stays asked for: a right one may
        be published in its place.
        """
        payload = self._reassembly.add(number, chunk)
        if self._starts_left:
            self._asked.discard(number)
        return payload

    def start_over(self, error: ProtocolError) -> tuple[int, ...] | None:
        """What to let go before everything is asked for again; None when that would not help.

        A stray chunk, or one of an earlier federation that the broker still held, is in the place
        of a right one, which may have come before it. A model of one chunk has no such place: its
        right chunk either came, and was taken, or is still to come. After a few times everything
        stays asked for, and the newest copy of every chunk counts.
        """
        if (
            error.reason is not RejectReason.WRONG_DIGEST
            or self._count == 1
            or not self._starts_left
        ):
            return None
        self._starts_left -= 1
        let_go, self._asked = self.asked, set()
        self._to_ask = deque(range(self._count))
        return let_go
