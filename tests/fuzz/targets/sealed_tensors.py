"""Sealed tensors: the signature behind a payload, and validation as the coordinator does it."""

from __future__ import annotations

import numpy as np
from identities import key_of
from recipe import Recipe

from pfedfrz_coordinator.validation import Expected, ValidationPolicy, validate_update
from pfedfrz_protocol import ProtocolError, open_tensors, seal_tensors
from targets import tensors

KEY = key_of("me")
EXPECTED = Expected("me", 3, "0" * 64, tensors.VECTOR)
POLICY = ValidationPolicy(1000, 100.0)


def target(data: bytes) -> None:
    """An odd first byte: as it is. An even one: a payload that is made and sealed here."""
    sealed = data[1:]
    if data and not data[0] & 1:
        payload = tensors.payload_of(Recipe(sealed))
        try:
            sealed = seal_tensors(payload, KEY)
        except ProtocolError:
            sealed = payload + bytes(64)
    try:
        opened = open_tensors(sealed).require_signer(KEY.public)
        with np.errstate(all="ignore"):
            update = validate_update(opened, tensors.CODEC, EXPECTED, POLICY)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    assert np.isfinite(update.numbers).all()
    assert 1 <= update.samples <= POLICY.max_samples
    assert update.norm <= 100.0


def seeds() -> dict[str, bytes]:
    found = {name: b"\x00" + data for name, data in tensors.seeds().items() if len(data) < 5000}
    good = seal_tensors(tensors.CODEC.encode(tensors.BASE, tensors.LABELS[1]), KEY)
    found["sealed"] = b"\x01" + good
    found["sealed-truncated"] = b"\x01" + good[:-1]
    found["signature-alone"] = b"\x01" + good[-64:]
    return found
