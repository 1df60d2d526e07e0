"""JSON messages of every kind, without their signatures."""

from __future__ import annotations

import msgspec
from json_mutation import change_json
from message_examples import EXAMPLES, KINDS, nasty_json

from pfedfrz_protocol import ProtocolError, decode_message, encode_message


def target(data: bytes) -> None:
    """The first byte is the kind, the rest the message; what decodes must encode and come back."""
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    try:
        message = decode_message(data[1:], kind)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    assert isinstance(message, msgspec.Struct)
    assert decode_message(encode_message(message), kind) == message


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    changed = change_json(data[1:], limit - 1, seed)
    return None if changed is None else data[:1] + changed


def seeds() -> dict[str, bytes]:
    found = {}
    for place, kind in enumerate(KINDS):
        for number, message in enumerate(EXAMPLES[kind]):
            name = f"{place:02d}-{type(message).__name__}-{number}"
            found[name] = bytes([place]) + encode_message(message)
    found.update({name: b"\x03" + body for name, body in nasty_json().items()})
    return found
