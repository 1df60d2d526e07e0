"""The content of a file that has to be there."""

from __future__ import annotations

from pathlib import Path

from pfedfrz_protocol import ConfigurationError

__all__ = ["read_required"]


def read_required(path: Path) -> bytes:
    """All of it; ConfigurationError when it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
