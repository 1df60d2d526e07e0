"""Other JSON from JSON: one value is replaced, left out, doubled or buried, and it stays JSON.

Random bytes make broken JSON nearly always, and a strict schema refuses that at once; what lies
behind the schema is reached by values that fit in form and not in sense.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["change_json", "json_bytes"]

_ODD: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**48, 2**48 + 1, 2**63, 2**64, 10**40, 999_999_999, 1e308, -1e308, 1e-320, 0.5,
    float("nan"), float("inf"), True, False, None, "", "a", "..", "../../etc/passwd", "/", "\x00",
    "\u202e", "\ud800", "é", "١", "\U0001f600", "a" * 600, "0" * 64, "f" * 64, [], {}, [[]],
    [0, 0], [0, 999_999_999], {"a": 1}, "NaN", "train", "evaluate", "online", "offline", "stop",
    "run", "pause", "grant", "accepted", "rejected", "ready", "failed", "progress", "not-admitted",
)  # fmt: skip


class _Doubled(dict[str, Any]):
    """An object in which one key is written twice."""


def json_bytes(value: Any) -> bytes:
    """The value as JSON; an object that was doubled has its first key twice."""
    return "".join(_parts(value)).encode("utf-8", "surrogatepass")


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        members = list(value.items())
        if isinstance(value, _Doubled):
            members += members[:1]
        for place, (key, inner) in enumerate(members):
            yield ("," if place else "") + json.dumps(key) + ":"
            yield from _parts(inner)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, inner in enumerate(value):
            yield "," if place else ""
            yield from _parts(inner)
        yield "]"
    else:
        yield json.dumps(value)


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value below."""
    if depth > 20:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner, depth + 1)


def change_json(data: bytes, limit: int, seed: int) -> bytes | None:
    """The JSON in `data` with one to three changes; None if it is none, or would grow too long."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    chance = random.Random(seed)
    holder = [value]
    for _ in range(chance.randint(1, 3)):
        places = list(_places(holder))
        if not places:
            return None
        _change(chance, *chance.choice(places), places)
    try:
        changed = json_bytes(holder[0]) if holder else b"[]"
    except RecursionError:
        return None
    return changed if len(changed) <= limit else None


def _change(chance: random.Random, container: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    kind = chance.randrange(9)
    value = container[key]
    if kind <= 2:
        # A copy, or later changes would be changes of the table.
        container[key] = copy.deepcopy(chance.choice(_ODD))
    elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = value + chance.choice((-1, 1, 2, 1000))
    elif kind == 4:
        del container[key]
    elif kind == 5 and isinstance(container, list):
        container.insert(key, json.loads(json.dumps(value)))
    elif kind == 6:
        other, place = chance.choice(places)
        if place in other if isinstance(other, dict) else place < len(other):
            # A copy: a value put into itself would have no end.
            container[key] = json.loads(json.dumps(other[place]))
    elif kind == 7 and isinstance(value, dict) and value:
        container[key] = _Doubled(value)
    elif isinstance(container, list) and len(container) > 1:
        other_key = chance.randrange(len(container))
        container[key], container[other_key] = container[other_key], container[key]
    elif isinstance(container, dict):
        container[chance.choice(["x", "", "epoch", "round", str(key) + "\u0300"])] = value
