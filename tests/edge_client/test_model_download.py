"""What a device asks for while it fetches a model."""

from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_edge.model_download import ModelDownload
from pfedfrz_protocol import CHUNK_BYTES, ProtocolError, describe_transfer, split_chunks

PAYLOAD = bytes(range(256)) * (CHUNK_BYTES * 9 // 256) + b"end"
CHUNKS = split_chunks(PAYLOAD)
TRANSFER = describe_transfer(PAYLOAD)


def download() -> ModelDownload:
    return ModelDownload(TRANSFER, len(PAYLOAD))


def fetch(mine: ModelDownload) -> tuple[bytes | None, list[int]]:
    """Answer everything that is asked for; the payload, and what was asked for."""
    asked = list(mine.ask())
    for number in asked:
        payload = mine.take(number, CHUNKS[number])
        if payload is not None:
            return payload, asked
        asked.extend(mine.ask())
    return None, asked


def test_few_chunks_are_asked_for_at_a_time_and_each_once() -> None:
    mine = download()
    assert mine.ask() == (0, 1, 2, 3)
    assert mine.ask() == ()
    assert mine.take(2, CHUNKS[2]) is None
    assert mine.asked == (0, 1, 3)
    assert mine.ask() == (4,)
    payload, asked = fetch(download())
    assert payload == PAYLOAD
    assert asked == list(range(len(CHUNKS)))


@given(st.sets(st.integers(0, len(CHUNKS) - 1)))
def test_what_is_on_the_disk_is_not_asked_for_again(kept: set[int]) -> None:
    mine = download()
    payload = mine.resume({n: CHUNKS[n] for n in kept})
    if len(kept) == len(CHUNKS):
        assert payload == PAYLOAD
        return
    assert payload is None
    found, asked = fetch(mine)
    assert found == PAYLOAD
    assert set(asked) == set(range(len(CHUNKS))) - kept


def test_kept_chunks_that_do_not_fit_are_fetched_again() -> None:
    for kept in ({0: b"short"}, {0: bytes(CHUNK_BYTES), 99: b"x"}):
        mine = download()
        assert mine.resume(kept) is None
        assert fetch(mine)[0] == PAYLOAD


def test_after_a_lost_link_only_the_rest_is_asked_for() -> None:
    mine = download()
    for number in mine.ask()[:3]:
        mine.take(number, CHUNKS[number])
    mine.ask()
    mine.ask_again()
    payload, asked = fetch(mine)
    assert payload == PAYLOAD
    assert asked == list(range(3, len(CHUNKS)))


def test_a_wrong_chunk_among_them_costs_one_more_time() -> None:
    mine = download()
    asked = list(mine.ask())
    wrong = {4: bytes(CHUNK_BYTES)}
    starts = 0
    for number in asked:
        try:
            payload = mine.take(number, wrong.pop(number, CHUNKS[number]))
        except ProtocolError as error:
            starts, payload = starts + (mine.start_over(error) is not None), None
        if payload is not None:
            break
        asked.extend(mine.ask())
    assert payload == PAYLOAD
    assert starts == 1


def test_what_stays_wrong_is_asked_for_a_few_times_and_then_waited_for() -> None:
    mine = download()
    asked = list(mine.ask())
    for number in asked:
        assert len(asked) < 10 * len(CHUNKS)
        try:
            assert mine.take(number, bytes(len(CHUNKS[number]))) is None
        except ProtocolError as error:
            mine.start_over(error)
        asked.extend(mine.ask())
    assert mine.asked == tuple(range(len(CHUNKS)))
    for number in range(len(CHUNKS) - 1):
        assert take(mine, number) is None
    assert mine.take(len(CHUNKS) - 1, CHUNKS[-1]) == PAYLOAD


def take(mine: ModelDownload, number: int) -> bytes | None:
    """One right chunk beside others that are wrong still."""
    try:
        return mine.take(number, CHUNKS[number])
    except ProtocolError:
        return None
