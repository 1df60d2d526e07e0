"""A process's own identity on the disk: its private key, and how that key came to be.

Beside `NAME.key` lies `NAME.key.successions`, the signed rotations that led to it. A rotation
writes the statement first and the key last: a kill in between leaves the old key in use, beside a
statement that nobody needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    MAX_SUCCESSIONS,
    ConfigurationError,
    OperationError,
    SigningKey,
    Succession,
    decode_json,
    make_succession,
)

from .atomic import make_directory, write_atomically
from .key_file import load_signing_key, save_signing_key

__all__ = ["OwnIdentity", "load_or_make_identity", "rotate_identity"]


@dataclass(frozen=True)
class OwnIdentity:
    """A private key and the rotations that led to it, oldest first."""

    key: SigningKey
    successions: tuple[Succession, ...] = ()


def load_or_make_identity(path: Path) -> OwnIdentity:
    """The identity whose private key is at `path`; a new one where there is none yet.

    Raises ConfigurationError for a file that others may read or that holds something else, and
    OperationError when the disk refuses.
    """
    if not path.exists():
        make_directory(path.parent, mode=0o700)
        save_signing_key(path, SigningKey.generate())
    key = load_signing_key(path)
    return OwnIdentity(key, _led_to(key, _read_successions(path)))


def rotate_identity(path: Path, owner: str) -> OwnIdentity:
    """Put a new key in the place of the one at `path`, which vouches for it. Errors as above.

    `owner` is whose key it is, as `make_succession` wants it.
    """
    old = load_or_make_identity(path)
    new = SigningKey.generate()
    successions = (*old.successions, make_succession(old.key, new.public, owner))
    kept = successions[-MAX_SUCCESSIONS:]
    write_atomically(_successions_path(path), msgspec.json.encode(kept), mode=0o600)
    save_signing_key(path, new)
    return OwnIdentity(new, kept)


def _successions_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.successions")


def _read_successions(path: Path) -> tuple[Succession, ...]:
    file = _successions_path(path)
    try:
        return decode_json(file.read_bytes(), tuple[Succession, ...])
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise OperationError(f"cannot read {file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{file} is damaged ({error}): bring it back, or remove it and let the other side "
            "accept the key anew"
        ) from error


def _led_to(key: SigningKey, successions: tuple[Succession, ...]) -> tuple[Succession, ...]:
    """The links up to this key: what a rotation that was cut short left is behind them."""
    for place, link in enumerate(successions):
        if link.previous == key.public:
            return successions[:place]
    return successions
