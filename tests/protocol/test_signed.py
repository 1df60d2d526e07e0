"""JSON that carries its signature."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key_of

from pfedfrz_protocol import (
    Command,
    Grant,
    ProtocolError,
    RejectReason,
    SignedMessage,
    decode_message,
    open_message,
    sign_message,
    split_signature,
)

KEY, TOPIC = key_of("a"), "pfedfrz/v1/lab/device/a/command"
SIGNED = sign_message(Grant(3, 7), TOPIC, KEY)


def parts_of(payload: bytes) -> SignedMessage | None:
    """The parts, or None for a payload that is refused as not signed."""
    try:
        return split_signature(payload)
    except ProtocolError as error:
        if error.reason is not RejectReason.NOT_SIGNED:
            raise
        return None


def test_it_is_plain_json_whose_last_member_is_the_signature() -> None:
    content = json.loads(SIGNED)
    assert list(content) == ["type", "round", "epoch", "chunks", "signature"]
    assert (content["round"], content["epoch"]) == (3, 7)
    assert len(content["signature"]) == 86


def test_who_knows_the_key_can_tell_and_who_does_not_can_read() -> None:
    parts = split_signature(SIGNED)
    assert parts.is_by(KEY.public, TOPIC)
    assert not parts.is_by(key_of("b").public, TOPIC)
    assert not parts.is_by(KEY.public, TOPIC.replace("/a/", "/b/"))
    assert decode_message(parts.body, Command) == Grant(3, 7)  # type: ignore[arg-type]
    assert open_message(SIGNED, Command) == Grant(3, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", range(len(SIGNED)))
def test_no_byte_can_be_changed(place: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= 1
    if place == len(SIGNED) - 3:
        return  # the last of 86 characters has four bits that mean nothing
    parts = parts_of(bytes(changed))
    assert parts is None or not parts.is_by(KEY.public, TOPIC)


@given(st.binary(max_size=200) | st.binary(max_size=90).map(lambda noise: noise + SIGNED[-101:]))
def test_bytes_that_are_no_signed_message_are_refused_or_somebody_elses(noise: bytes) -> None:
    parts = parts_of(noise)
    assert parts is None or not parts.is_by(KEY.public, TOPIC)


def test_a_message_without_its_signature_is_said() -> None:
    with pytest.raises(ProtocolError, match="no signature at the end"):
        split_signature(b'{"type":"grant","round":3,"epoch":7}')


def test_an_endless_message_is_refused_by_its_length() -> None:
    with pytest.raises(ProtocolError) as caught:
        split_signature(bytes(5 << 20))
    assert caught.value.reason is RejectReason.TOO_LARGE
