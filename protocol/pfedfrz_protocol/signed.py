"""Signed JSON: a message that says by itself who wrote it, and is still plain JSON.

The signature is the last member of the object, in a tail of fixed length:

    {"round":3,"epoch":7,"signature":"<86 characters of unpadded base64url>"}

What is signed is the object without that member, `{"round":3,"epoch":7}`, with the topic as the
purpose. So the bytes on the wire are verified as they are, without a canonical form of JSON; a
message that was signed for one topic is worth nothing on another; and whoever only wants to read
takes it for the JSON that it is.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .errors import ProtocolError, RejectReason
from .identity import SIGNATURE_BYTES, SigningKey, verifies
from .messages import (
    MAX_MESSAGE_BYTES,
    CoordinatorStatus,
    DeviceStatus,
    Message,
    decode_message,
    encode_message,
)

__all__ = [
    "SignedMessage",
    "open_introduction",
    "open_message",
    "open_signed",
    "sign_message",
    "split_signature",
]

Introduction = TypeVar("Introduction", CoordinatorStatus, DeviceStatus)

_OPEN = b',"signature":"'
_CLOSE = b'"}'
_TEXT_BYTES = 86
_TAIL_BYTES = len(_OPEN) + _TEXT_BYTES + len(_CLOSE)


def _purpose(topic: str) -> str:
    return f"message/{topic}"


def sign_message(message: msgspec.Struct, topic: str, key: SigningKey) -> bytes:
    """The message as JSON, signed for that topic. It must have at least one field."""
    body = encode_message(message)
    signature = base64.urlsafe_b64encode(key.sign(_purpose(topic), body)).rstrip(b"=")
    return body[:-1] + _OPEN + signature + _CLOSE


@dataclass(frozen=True)
class SignedMessage:
    """A payload taken apart; whether the signature is anybody's is not known yet."""

    body: bytes
    """The JSON without its signature."""
    signature: bytes

    def is_by(self, key: str, topic: str) -> bool:
        """Whether the owner of `key` signed it for that topic."""
        return verifies(key, _purpose(topic), self.body, self.signature)


def split_signature(payload: bytes) -> SignedMessage:
    """The parts of a signed payload; ProtocolError when it carries no signature in form."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ProtocolError(RejectReason.TOO_LARGE, f"message of {len(payload)} bytes")
    tail = payload[-_TAIL_BYTES:]
    text = tail[len(_OPEN) : -len(_CLOSE)]
    if len(payload) <= _TAIL_BYTES or not (tail.startswith(_OPEN) and tail.endswith(_CLOSE)):
        raise ProtocolError(RejectReason.NOT_SIGNED, "no signature at the end")
    try:
        signature = base64.b64decode(text + b"==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ProtocolError(RejectReason.NOT_SIGNED, "a signature that is no base64url") from error
    if len(signature) != SIGNATURE_BYTES:
        raise ProtocolError(RejectReason.NOT_SIGNED, f"a signature of {len(signature)} bytes")
    return SignedMessage(payload[:-_TAIL_BYTES] + b"}", signature)


def open_message(payload: bytes, kind: type[Message]) -> Message:
    """The message in a signed payload, for a reader who asks nobody's key."""
    return decode_message(split_signature(payload).body, kind)


def open_signed(
    payload: bytes, kind: type[Message], topic: str, key: str, otherwise: str
) -> Message:
    """The message that the owner of `key` signed for that topic.

    ProtocolError for what is no message of that kind, and with `otherwise` for anybody else's.
    """
    signed = split_signature(payload)
    message = decode_message(signed.body, kind)
    if not signed.is_by(key, topic):
        raise ProtocolError(RejectReason.WRONG_SIGNATURE, otherwise)
    return message


def open_introduction(payload: bytes, kind: type[Introduction], topic: str) -> Introduction:
    """A status, signed with the key that it carries; whether that key is good is another matter."""
    signed = split_signature(payload)
    status = decode_message(signed.body, kind)
    if not signed.is_by(status.key, topic):
        raise ProtocolError(RejectReason.WRONG_SIGNATURE, "not signed with the key it carries")
    return status
