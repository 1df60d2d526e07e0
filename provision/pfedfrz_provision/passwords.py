"""Passwords of accounts, and the form in which Mosquitto keeps them."""

from __future__ import annotations

import base64
import hashlib
import secrets

__all__ = ["hash_password", "new_password"]

_ITERATIONS = 101
"""Mosquitto's own number. More would slow down a guesser, and nobody guesses 256 random bits."""
_SALT_BYTES = 12
_HASH_BYTES = 64


def new_password() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """What `mosquitto_passwd` writes after the user's name: `$7$`, PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, _HASH_BYTES)
    return f"$7${_ITERATIONS}${_base64(salt)}${_base64(digest)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
