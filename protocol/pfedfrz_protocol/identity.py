"""Who somebody is: an Ed25519 key, what it signs, and how one key hands over to the next.

A public key is written as 64 hexadecimal digits. Whoever trusted a key trusts the key that it named
as its successor: a rotation is a signed statement, and a chain of them leads from the key that a
peer has pinned to the one in use, however long the peer was away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Meta

from .errors import ConfigurationError

__all__ = [
    "MAX_SUCCESSIONS",
    "SIGNATURE_BYTES",
    "PublicKey",
    "SigningKey",
    "Succession",
    "follow_successions",
    "is_public_key",
    "make_succession",
    "verifies",
]

PublicKey = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
SIGNATURE_BYTES = 64
MAX_SUCCESSIONS = 8
"""Rotations that a peer may have missed; whoever missed more is enrolled anew."""

_DOMAIN = b"pfedfrz/v1/"


class SigningKey:
    """A private key. It shows nothing of itself but its public half."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public: str = raw.hex()

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key, from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """The key in a PKCS #8 PEM file; ConfigurationError for anything else."""
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError("not an unencrypted private key in PEM form") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigurationError("a private key of another kind; an Ed25519 key is wanted")
        return cls(private)

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key of these 32 bytes; for test vectors."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM: for a file with mode 0600, nowhere else."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, purpose: str, data: bytes) -> bytes:
        """64 bytes over `data`, good for this purpose only; see `verifies`."""
        return self._private.sign(_statement(purpose, data))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public!r})"


def _statement(purpose: str, data: bytes) -> bytes:
    """What is signed: a signature made for one purpose never fits another."""
    return _DOMAIN + purpose.encode() + b"\n" + data


def is_public_key(text: str) -> bool:
    """Whether the text is a public key in form; not every such key is a point of the curve."""
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def verifies(key: str, purpose: str, data: bytes, signature: bytes) -> bool:
    """Whether `signature` was made by the owner of `key` over exactly this purpose and data."""
    if len(signature) != SIGNATURE_BYTES or not is_public_key(key):
        return False
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(signature, _statement(purpose, data))
    except (InvalidSignature, ValueError):
        return False
    return True


class Succession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`previous` says that `successor` speaks in its place from now on."""

    previous: PublicKey
    successor: PublicKey
    signature: Annotated[str, Meta(pattern=r"\A[0-9a-f]{128}\Z")]
    """By `previous`."""


def make_succession(previous: SigningKey, successor: str, owner: str) -> Succession:
    """The old key's word for the new one. `owner` names whose key it is, federation included."""
    signature = previous.sign(f"succession/{owner}", successor.encode())
    return Succession(previous.public, successor, signature.hex())


def follow_successions(
    pinned: str, claimed: str, successions: Sequence[Succession], owner: str
) -> bool:
    """Whether an unbroken chain of signed rotations leads from `pinned` to `claimed`."""
    key = pinned
    for link in successions[:MAX_SUCCESSIONS]:
        if key == claimed:
            return True
        if link.previous == key and verifies(
            key, f"succession/{owner}", link.successor.encode(), bytes.fromhex(link.signature)
        ):
            key = link.successor
    return key == claimed
