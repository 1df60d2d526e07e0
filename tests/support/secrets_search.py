"""Finds the secrets of a federation on the disk, in every form that something could be sent in."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

__all__ = ["secrets_below"]


def secrets_below(root: Path) -> set[bytes]:
    """Passwords, their hashes, and private keys in every form that something could be sent in."""
    found: set[bytes] = set()
    for path in root.rglob("*"):
        if path.name == "password":
            found.add(path.read_bytes().strip())
        elif path.name == "passwords":
            found |= {line.rpartition(b"$")[2] for line in path.read_bytes().splitlines()}
        elif path.suffix == ".key":
            found |= set(path.read_bytes().splitlines()[1:-1])
            key = load_pem_private_key(path.read_bytes(), password=None)
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            raw = der[-32:] if len(der) < 60 else der[36:68]  # Ed25519's; P-256's scalar
            text = base64.urlsafe_b64encode(raw).rstrip(b"=")
            found |= {raw, raw.hex().encode(), text}
    return found
