"""A payload in chunks, and back.

Chunks keep one big transfer from delaying everything else on the link. A receiver knows length and
digest beforehand (`TransferReference`), so what it holds is bounded and every chunk has exactly one
right length; chunks may come in any order and more than once.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ProtocolError, RejectReason
from .manifest import sha256_hex
from .messages import MAX_SPANS, TransferReference

__all__ = [
    "CHUNK_BYTES",
    "Reassembly",
    "chunk_count",
    "describe_transfer",
    "numbers_in",
    "spans_of",
    "split_chunks",
]

CHUNK_BYTES = 256 * 1024


def chunk_count(payload_bytes: int) -> int:
    """How many chunks a payload of that length has; an empty payload has one, empty chunk."""
    return max(1, -(-payload_bytes // CHUNK_BYTES))


def split_chunks(payload: bytes) -> list[bytes]:
    """The chunks of a payload, in order."""
    starts = range(0, max(1, len(payload)), CHUNK_BYTES)
    return [payload[start : start + CHUNK_BYTES] for start in starts]


def describe_transfer(payload: bytes) -> TransferReference:
    """The reference that announces `payload`."""
    return TransferReference(len(payload), sha256_hex(payload))


def spans_of(numbers: Sequence[int], limit: int = MAX_SPANS) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as (first, last) spans; the last one takes in the rest beyond `limit`."""
    spans = list[tuple[int, int]]()
    for number in numbers:
        if spans and (number == spans[-1][1] + 1 or len(spans) == limit):
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return tuple(spans)


def numbers_in(spans: Sequence[tuple[int, int]], count: int) -> tuple[int, ...]:
    """The chunk numbers below `count` in the spans, ascending; of no spans, all of them."""
    if not spans:
        return tuple(range(count))
    return tuple(sorted({n for first, last in spans for n in range(first, min(last + 1, count))}))


class Reassembly:
    """Collects the chunks of one announced payload."""

    def __init__(self, transfer: TransferReference, limit_bytes: int) -> None:
        """Expect `transfer`; ProtocolError when it announces more than `limit_bytes`."""
        if transfer.payload_bytes > limit_bytes:
            raise ProtocolError(
                RejectReason.TOO_LARGE,
                f"transfer of {transfer.payload_bytes} bytes, at most {limit_bytes} are expected",
            )
        self.transfer = transfer
        self._count = chunk_count(transfer.payload_bytes)
        self._chunks: dict[int, bytes] = {}
        self._is_wrong = False

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the chunks that have not come yet."""
        return tuple(n for n in range(self._count) if n not in self._chunks)

    @property
    def held_bytes(self) -> int:
        """The bytes that have come so far."""
        return sum(map(len, self._chunks.values()))

    def add(self, number: int, chunk: bytes) -> bytes | None:
        """Take one chunk; the whole payload once it is complete and its digest is right.

        `take` and then `assemble`, with the errors of both.
        """
        return self.assemble() if self.take(number, chunk) else None

    def take(self, number: int, chunk: bytes) -> bool:
        """Take one chunk; whether the payload is complete and may be assembled.

        Raises ProtocolError for a number or a length that the transfer does not have. Of a chunk
        that comes twice the newer copy is kept, so that the payload is right as soon as the newest
        copy of every chunk is: what is published now comes behind what a broker still held. A copy
        like the one before says nothing new.
        """
        if not 0 <= number < self._count:
            raise ProtocolError(RejectReason.MALFORMED, f"chunk {number} of {self._count}")
        last = number == self._count - 1
        due = self.transfer.payload_bytes - number * CHUNK_BYTES if last else CHUNK_BYTES
        if len(chunk) != due:
            raise ProtocolError(
                RejectReason.MALFORMED, f"chunk {number} has {len(chunk)} bytes, not {due}"
            )
        if self._is_wrong and self._chunks[number] == chunk:
            return False
        self._chunks[number] = chunk
        return len(self._chunks) == self._count

    def assemble(self) -> bytes:
        """The complete payload; ProtocolError when it has another digest than announced.

        Then one of its chunks is not of this transfer, and which one cannot be told. On a thread of
        its own if need be: hashing a large payload takes a while.
        """
        payload = b"".join(self._chunks[n] for n in range(self._count))
        self._is_wrong = sha256_hex(payload) != self.transfer.sha256
        if self._is_wrong:
            raise ProtocolError(RejectReason.WRONG_DIGEST, "the transfer's sha256 differs")
        return payload
