"""Keys for the members of a federation that tests play by hand: always the same for a name."""

from __future__ import annotations

import hashlib

import msgspec

from pfedfrz_protocol import SigningKey, sign_message
from pfedfrz_storage import OwnIdentity

__all__ = ["COORDINATOR", "identity_of", "key_of", "signed"]

COORDINATOR = "the coordinator"


def key_of(name: str) -> SigningKey:
    """The private key of a member."""
    return SigningKey.from_seed(hashlib.sha256(name.encode()).digest())


def identity_of(name: str) -> OwnIdentity:
    """The same as an identity that was never rotated."""
    return OwnIdentity(key_of(name))


def signed(message: msgspec.Struct, topic: str, name: str) -> bytes:
    """The message as the member `name` would send it on that topic."""
    return sign_message(message, topic, key_of(name))
