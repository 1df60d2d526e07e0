"""Private keys in files that only their owner can read."""

from __future__ import annotations

import stat
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError, SigningKey

from .atomic import write_atomically

__all__ = ["load_or_make_key", "load_signing_key", "save_signing_key"]


def save_signing_key(path: Path, key: SigningKey) -> None:
    """Write the private key durably with mode 0600, in place of what is there."""
    write_atomically(path, key.to_pem(), mode=0o600)


def load_signing_key(path: Path) -> SigningKey:
    """The private key in a file.

    Raises ConfigurationError when others may read the file or it holds no Ed25519 key, and
    OperationError when it cannot be read.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        pem = path.read_bytes()
    except OSError as error:
        raise OperationError(f"cannot read the key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(
            f"the private key {path} has mode {mode:04o}, which lets others use it: run "
            f"`chmod 600 {path}`, and think about a new key if somebody may have read it"
        )
    try:
        return SigningKey.from_pem(pem)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def load_or_make_key(path: Path) -> SigningKey:
    """The private key in a file; a new one where there is no file yet."""
    if not path.exists():
        save_signing_key(path, SigningKey.generate())
    return load_signing_key(path)
