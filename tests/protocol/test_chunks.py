import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_protocol import (
    CHUNK_BYTES,
    ProtocolError,
    Reassembly,
    RejectReason,
    TransferReference,
    chunk_count,
    describe_transfer,
    split_chunks,
)

LIMIT = 1 << 30


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 1), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (3 * CHUNK_BYTES, 3)],
)
def test_chunks_put_together_are_the_payload(size: int, count: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    chunks = split_chunks(payload)
    assert len(chunks) == count == chunk_count(size)
    assert b"".join(chunks) == payload


@given(st.integers(0, 2**32), st.integers(0, 4 * CHUNK_BYTES))
def test_any_order_and_any_number_of_duplicates_give_the_payload(seed: int, size: int) -> None:
    # Not bytes of hypothesis's own: it takes minutes over one megabyte of them.
    random = Random(seed)
    payload = random.randbytes(size)
    numbered = list(enumerate(split_chunks(payload)))
    arriving = numbered + random.choices(numbered, k=3)
    random.shuffle(arriving)
    reassembly = Reassembly(describe_transfer(payload), LIMIT)
    results = [reassembly.add(number, chunk) for number, chunk in arriving]
    assert payload in [r for r in results if r is not None]
    assert reassembly.missing == ()


def test_missing_chunks_are_named_and_memory_is_what_came() -> None:
    payload = bytes(2 * CHUNK_BYTES + 5)
    reassembly = Reassembly(describe_transfer(payload), LIMIT)
    reassembly.add(1, payload[:CHUNK_BYTES])
    assert reassembly.missing == (0, 2)
    assert reassembly.held_bytes == CHUNK_BYTES


def test_an_announcement_over_the_limit_is_refused_before_anything_is_held() -> None:
    with pytest.raises(ProtocolError) as caught:
        Reassembly(TransferReference(1 << 40, "0" * 64), LIMIT)
    assert caught.value.reason is RejectReason.TOO_LARGE


@pytest.mark.parametrize(
    ("number", "chunk"), [(2, b"x"), (0, b"short"), (1, b"long one"), (-1, bytes(CHUNK_BYTES))]
)
def test_a_chunk_that_the_transfer_does_not_have_is_refused(number: int, chunk: bytes) -> None:
    reassembly = Reassembly(describe_transfer(bytes(CHUNK_BYTES + 5)), LIMIT)
    with pytest.raises(ProtocolError) as caught:
        reassembly.add(number, chunk)
    assert caught.value.reason is RejectReason.MALFORMED
    assert reassembly.held_bytes == 0


def test_after_a_wrong_digest_the_transfer_can_begin_again() -> None:
    payload = b"the real one"
    reassembly = Reassembly(describe_transfer(payload), LIMIT)
    with pytest.raises(ProtocolError) as caught:
        reassembly.add(0, b"the fake one")
    assert caught.value.reason is RejectReason.WRONG_DIGEST
    assert reassembly.add(0, payload) == payload


PAYLOAD = b"a" * CHUNK_BYTES + b"b" * CHUNK_BYTES + b"c"
RIGHT, STALE = split_chunks(PAYLOAD), split_chunks(bytes(len(PAYLOAD)))


def test_of_a_chunk_that_comes_twice_the_newer_one_is_taken() -> None:
    reassembly = Reassembly(describe_transfer(PAYLOAD), LIMIT)
    assert reassembly.add(1, STALE[1]) is None
    assert [reassembly.add(n, RIGHT[n]) for n in range(3)] == [None, None, PAYLOAD]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whatever_came_before_the_newest_copies_of_all_chunks_make_the_payload(
    order: tuple[int, int, int],
) -> None:
    old = [(n, STALE[n]) for n in order]
    new = [(n, RIGHT[n]) for n in order]
    reassembly = Reassembly(describe_transfer(PAYLOAD), LIMIT)
    results, faults = [], []
    for number, chunk in [old[0], old[1], new[0], old[2], *old[1:], *new[1:]]:
        try:
            results.append(reassembly.add(number, chunk))
        except ProtocolError as error:
            faults.append(error.reason)
        assert reassembly.held_bytes <= len(PAYLOAD)
    assert results[-1] == PAYLOAD
    # One when all are there, one for the next that is another; copies like those are no news.
    assert faults == [RejectReason.WRONG_DIGEST] * 2
