"""Signed messages: the tail that is taken off, and what is read behind a good signature."""

from __future__ import annotations

import base64

from identities import key_of, signed
from json_mutation import change_json
from message_examples import EXAMPLES, KINDS, nasty_json

from pfedfrz_protocol import ProtocolError, encode_message, open_message, sign_message
from pfedfrz_protocol.signed import split_signature

KEY = key_of("me")
TOPIC = "pfedfrz/v1/lab/device/me/status"


def sign_body(body: bytes, topic: str, name: str) -> bytes:
    """The bytes signed as if they were a message of the member `name`."""
    signature = key_of(name).sign(f"message/{topic}", body)
    text = base64.urlsafe_b64encode(signature).rstrip(b"=")
    return body[:-1] + b',"signature":"' + text + b'"}'


def target(data: bytes) -> None:
    """An odd first byte: the payload as it is. An even one: a body that is signed here."""
    first = data[0] if data else 0
    kind = KINDS[first // 2 % len(KINDS)]
    body = data[1:]
    payload = body if first % 2 else sign_body(body, TOPIC, "me")
    try:
        parts = split_signature(payload)
        if not first % 2 and body.endswith(b"}"):
            assert parts.is_by(KEY.public, TOPIC)
        open_message(payload, kind)
    except ProtocolError as error:
        assert str(error).isprintable()


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    changed = change_json(data[1:], limit - 1, seed)
    return None if changed is None else data[:1] + changed


def seeds() -> dict[str, bytes]:
    found = {}
    for place, kind in enumerate(KINDS):
        message = EXAMPLES[kind][0]
        found[f"{place:02d}-body"] = bytes([2 * place]) + encode_message(message)
        found[f"{place:02d}-whole"] = bytes([2 * place + 1]) + sign_message(message, TOPIC, KEY)
    whole = signed(EXAMPLES[KINDS[0]][0], TOPIC, "me")
    found["truncated"] = b"\x01" + whole[:-5]
    found["no-body"] = b"\x01" + whole[-101:]
    found["second-signature"] = b"\x01" + whole[:-1] + whole[-101:]
    found["foreign-alphabet"] = b"\x01" + whole.replace(whole[-20:-10], "éééèè".encode())
    found.update({name: b"\x06" + body for name, body in nasty_json().items()})
    return found
