"""Orders and what workers say: strict, bounded, and anything else is a ProtocolError."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_protocol import (
    MAX_SHARE,
    CollectOrder,
    ModelReference,
    ProtocolError,
    RejectReason,
    SigningKey,
    SumImpossible,
    SumReady,
    TransferReference,
    UpdateHeld,
    UpdateUnfit,
    UploadGoesOn,
    UploadOrder,
    WorkerEvent,
    decode_message,
    encode_message,
)

DIGEST = "d" * 64
TRANSFER = TransferReference(100, DIGEST)
KEY = SigningKey.generate().public
MESSAGES: list[tuple[object, msgspec.Struct]] = [
    (
        UploadOrder,
        UploadOrder(3, 7, DIGEST, "a", KEY, TRANSFER, ModelReference(2, DIGEST, TRANSFER)),
    ),
    (CollectOrder, CollectOrder(3, 7, 0, (("a", DIGEST), ("b", DIGEST)))),
    (WorkerEvent, UploadGoesOn(3, 7, "a", TRANSFER)),
    (WorkerEvent, UpdateHeld(3, 7, "a", TRANSFER, 10, 0.5)),
    (WorkerEvent, UpdateUnfit(3, 7, "a", TRANSFER, RejectReason.NOT_FINITE, "NaN")),
    (WorkerEvent, SumReady(3, 7, 1, 10, TRANSFER)),
    (WorkerEvent, SumImpossible(3, 7, 1, ("a",))),
]


@pytest.mark.parametrize(("kind", "message"), MESSAGES)
def test_what_is_encoded_is_decoded(kind: type[msgspec.Struct], message: msgspec.Struct) -> None:
    assert decode_message(encode_message(message), kind) == message


@pytest.mark.parametrize(
    ("kind", "message", "old", "new"),
    [
        (*MESSAGES[0], b'"a"', b'"../a"'),
        (*MESSAGES[1], b'"share":0', b'"share":-1'),
        (*MESSAGES[1], DIGEST.encode(), b"d"),
        (*MESSAGES[3], b'"samples":10', b'"samples":0'),
        (*MESSAGES[3], b'"samples":10', b'"samples":1073741824'),
        (*MESSAGES[3], b'"norm":0.5', b'"norm":-0.5'),
        (*MESSAGES[3], b'"norm":0.5', b'"norm":1e999'),
        (*MESSAGES[3], b'"norm":0.5', b'"norm":NaN'),
        (*MESSAGES[3], b'"held"', b'"holds"'),
        (*MESSAGES[4], b'"not-finite"', b'"because"'),
        (*MESSAGES[6], b'["a"]', b"[]"),
        (*MESSAGES[6], b'["a"]', b'["a"],"more":1'),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: type[msgspec.Struct], message: msgspec.Struct, old: bytes, new: bytes
) -> None:
    encoded = encode_message(message)
    assert old in encoded
    with pytest.raises(ProtocolError):
        decode_message(encoded.replace(old, new), kind)


def test_an_order_names_no_more_than_one_share() -> None:
    many = CollectOrder(1, 1, 0, (("a", DIGEST),) * (MAX_SHARE + 1))
    with pytest.raises(ProtocolError):
        decode_message(encode_message(many), CollectOrder)


def test_what_a_worker_says_of_an_update_is_one_printable_line() -> None:
    said = UpdateUnfit(1, 1, "a", TRANSFER, RejectReason.LATE, "a\nb\x1b[2J" + "x" * 600)
    assert said.detail.isprintable()
    assert len(said.detail) <= 500


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_protocol_error(data: bytes) -> None:
    for kind in (UploadOrder, CollectOrder, WorkerEvent):
        with pytest.raises(ProtocolError):
            decode_message(data, kind)  # type: ignore[arg-type]
