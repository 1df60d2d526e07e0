"""Chunks in any order, of any length, more than once; the numbers that a file may give, too."""

from __future__ import annotations

from functools import cache

from recipe import Recipe

from pfedfrz_edge.model_download import ModelDownload
from pfedfrz_protocol import (
    CHUNK_BYTES,
    ProtocolError,
    Reassembly,
    TransferReference,
    describe_transfer,
    numbers_in,
    spans_of,
    split_chunks,
)

SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7)
LIMIT = 4 * CHUNK_BYTES


@cache
def _payload(size: int) -> tuple[bytes, TransferReference]:
    payload = bytes(n % 251 for n in range(251)) * (size // 251 + 1)
    return payload[:size], describe_transfer(payload[:size])


@cache
def _chunk(size: int, number: int, form: int) -> bytes:
    """The right chunk, or one that is wrong in content or length."""
    right = split_chunks(_payload(size)[0])
    chunk = right[number] if 0 <= number < len(right) else bytes(7)
    if form == 1:
        return bytes(len(chunk))
    if form == 2:
        return chunk[:-1]
    return chunk + b"x" if form == 3 else chunk


def target(data: bytes) -> None:
    """A payload that comes out is the announced one, and no more is held than was announced."""
    recipe = Recipe(data)
    size, form = SIZES[recipe.number() % len(SIZES)], recipe.number()
    payload, transfer = _payload(size)
    if form & 1:
        transfer = TransferReference(recipe.number(6), "0" * 64)
    try:
        reassembly = Reassembly(transfer, LIMIT)
        download = ModelDownload(transfer, LIMIT)
    except ProtocolError:
        assert transfer.payload_bytes > LIMIT
        return
    steps = 0
    while not recipe.is_over and steps < 200:
        steps += 1
        choice = recipe.number()
        number = (choice >> 2 & 7) - 2 if choice & 0x80 else choice >> 2 & 31
        if choice & 0xE0 == 0xE0:
            number = recipe.number(4)
        chunk = _chunk(size, number, choice & 3)
        for receiver in (reassembly.add, download.take):
            try:
                whole = receiver(number, chunk)
            except ProtocolError as error:
                if receiver == download.take:
                    download.start_over(error)
                continue
            assert whole is None or whole == payload
        asked = download.ask()
        assert all(0 <= n < 5 for n in asked)
        assert reassembly.held_bytes <= transfer.payload_bytes
    spans = spans_of(reassembly.missing)
    assert numbers_in(spans, 5) == reassembly.missing or not reassembly.missing


def seeds() -> dict[str, bytes]:
    found = {f"in-order-{n}": bytes([n, 0, 0, 4, 8, 12]) for n in range(len(SIZES))}
    found["backwards"] = bytes([6, 0, 12, 8, 4, 0])
    found["wrong-digest"] = bytes([5, 0, 0, 5, 8, 5, 4])
    found["wrong-length"] = bytes([5, 0, 2, 3, 6, 7])
    found["duplicated"] = bytes([5, 0, 0, 0, 0, 4, 4, 8, 8])
    found["negative-number"] = bytes([5, 0, 0x80, 0x84, 0, 4, 0x80, 8])
    found["huge-number"] = bytes([5, 0, 0xE0, 255, 255, 255, 255])
    found["oversized-claim"] = bytes([5, 1, 255, 255, 255, 255, 255, 255])
    return found
