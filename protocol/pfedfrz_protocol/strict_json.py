"""JSON that says everything once.

RFC 8259 leaves it to the reader what an object means that has a key twice, and readers differ: one
takes the first, another the last. What is signed and judged must be one thing to all, so it is
refused, as is everything else that a decoder lets slip as an error of its own kind.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

__all__ = ["decode_json"]

Decoded = TypeVar("Decoded")


def decode_json(data: bytes | str, kind: type[Decoded]) -> Decoded:
    """The `kind` in `data`; msgspec.DecodeError for everything that is not exactly one."""
    try:
        decoded = msgspec.json.decode(data, type=kind)
        # msgspec takes the last of several keys and has no way to say that there were several.
        json.loads(data, object_pairs_hook=_require_once)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(f"JSON is malformed: {error}") from error
    return decoded


def _require_once(members: list[tuple[str, Any]]) -> None:
    if len(members) > 1 and len({key for key, _ in members}) < len(members):
        keys = [key for key, _ in members]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise msgspec.ValidationError(f"Object contains the key {twice[:64]!r} twice")
