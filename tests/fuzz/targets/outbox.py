"""The device's outbox: what waits, and what is settled."""

from __future__ import annotations

import msgspec
from recipe import Recipe, scratch

from pfedfrz_edge.outbox import Outbox, PendingUpdate, SettledRound
from pfedfrz_protocol import LocalReport, sha256_hex

FILES = ("pending-update.msgpack", "settled-round.msgpack")


def target(data: bytes) -> None:
    """The first byte: which file, and whether a digest that fits is put before it."""
    recipe = Recipe(data)
    form, body = recipe.number(), recipe.rest()
    folder = scratch() / "outbox"
    outbox = Outbox(folder)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    content = sha256_hex(body).encode() + body if form & 2 else body
    (folder / FILES[form & 1]).write_bytes(content)
    pending, settled = outbox.get(), outbox.settled()
    assert pending is None or isinstance(pending, PendingUpdate)
    assert settled is None or isinstance(settled, SettledRound)


def seeds() -> dict[str, bytes]:
    pending = msgspec.msgpack.encode(PendingUpdate(3, "0" * 64, LocalReport(5, 0.5), b"abc"))
    settled = msgspec.msgpack.encode(SettledRound(3, 7))
    return {
        "pending": b"\x02" + pending,
        "settled": b"\x03" + settled,
        "pending-raw": b"\x00" + sha256_hex(pending).encode() + pending,
        "wrong-digest": b"\x00" + b"0" * 64 + pending,
        "truncated": b"\x02" + pending[:-2],
        "deep": b"\x02" + b"\x91" * 1500,
        "deep-maps": b"\x02" + b"\x81\xa1a" * 1500,
        "bad-utf-8": b"\x02" + pending.replace(b"base", b"b\xffse"),
        "bad-utf-8-value": b"\x02" + pending.replace(b"0" * 64, b"\xff" * 64),
        "duplicated-keys": b"\x03\x82\xa5round\x01\xa5round\x02",
        "huge-claim": b"\x02\xdd\xff\xff\xff\xff",
        "huge-bytes": b"\x02\xc6\xff\xff\xff\xff",
        "huge-map": b"\x02\xdf\xff\xff\xff\xff",
        "negative": b"\x03\x82\xa5round\xff\xa5epoch\xff",
        "nan": b"\x03\x82\xa5round\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa5epoch\x01",
        "extension": b"\x02\xc7\x04\x01abcd",
        "timestamp": b"\x02\xd6\xff\xff\xff\xff\xff",
        "empty": b"",
    }
