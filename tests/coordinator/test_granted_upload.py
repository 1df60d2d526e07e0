from __future__ import annotations

import pytest

from pfedfrz_coordinator.granted_upload import GrantedUpload, beyond_room
from pfedfrz_coordinator.quotas import QuotaPolicy, Quotas
from pfedfrz_protocol import (
    CHUNK_BYTES,
    ProtocolError,
    RejectReason,
    describe_transfer,
    split_chunks,
)

PAYLOAD = bytes(range(250)) * 4200  # five chunks, the last of them short
CHUNKS = split_chunks(PAYLOAD)


def granted(payload: bytes = PAYLOAD) -> GrantedUpload:
    return GrantedUpload(describe_transfer(payload), len(payload))


def quotas(resent_share: float = 3.0) -> Quotas:
    return Quotas(QuotaPolicy(resent_share=resent_share), lambda: 0.0)


def test_it_is_complete_with_its_last_chunk_in_any_order() -> None:
    upload = granted()
    assert [upload.take(n, CHUNKS[n], quotas()) for n in (4, 0, 2, 3, 1)] == [False] * 4 + [True]
    assert upload.is_complete
    assert upload.received_bytes == len(PAYLOAD)
    assert upload.reassembly.assemble() == PAYLOAD


def test_a_transfer_over_the_limit_is_refused_before_anything_comes() -> None:
    with pytest.raises(ProtocolError) as refused:
        GrantedUpload(describe_transfer(PAYLOAD), len(PAYLOAD) - 1)
    assert refused.value.reason is RejectReason.TOO_LARGE


def test_a_grant_asks_for_everything_until_something_is_there_and_then_for_the_rest() -> None:
    upload = granted()
    assert upload.missing() == ()
    upload.take(0, CHUNKS[0], quotas())
    upload.take(3, CHUNKS[3], quotas())
    assert upload.missing() == ((1, 2), (4, 4))


def test_chunks_that_come_again_count_and_the_one_too_many_is_refused() -> None:
    upload, bound = granted(), quotas(resent_share=0.0)
    upload.take(4, CHUNKS[4], bound)
    for _ in range(4):
        upload.take(0, CHUNKS[0], bound)
    upload.take(4, CHUNKS[4], bound)
    assert upload.received_bytes == 4 * CHUNK_BYTES + 2 * len(CHUNKS[4]) > len(PAYLOAD)
    with pytest.raises(ProtocolError) as refused:
        upload.take(1, CHUNKS[1], bound)
    assert refused.value.reason is RejectReason.QUOTA_EXCEEDED
    assert not upload.is_complete


def test_parts_are_kept_for_four_uploads_of_each_place_and_the_oldest_go_first() -> None:
    devices = [f"device-{n}" for n in range(10)]
    assert beyond_room(devices[:8], 2) == []
    assert beyond_room(devices, 2) == ["device-0", "device-1"]


def test_an_upload_that_is_awaited_is_kept_beyond_the_room() -> None:
    devices = [f"device-{n}" for n in range(6)]
    awaited = {"device-0", "device-2"}
    assert beyond_room(devices, 1, awaited.__contains__) == ["device-1", "device-3"]
    assert beyond_room(devices, 1, lambda _: True) == []
