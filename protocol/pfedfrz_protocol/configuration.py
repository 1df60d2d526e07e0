"""Configuration files: TOML into strict structs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .errors import ConfigurationError

__all__ = ["decode_configuration"]

Settings = TypeVar("Settings", bound=msgspec.Struct)


def decode_configuration(data: bytes, source: str, kind: type[Settings]) -> Settings:
    """The settings in a TOML file's content; ConfigurationError names `source` and the fault.

    Unknown keys are faults: a misspelt key would otherwise be a default that nobody chose.
    """
    try:
        return msgspec.toml.decode(data, type=kind, dec_hook=_decode_path)
    except ConfigurationError as error:
        # Raised by the struct itself, which does not know what file it is read from.
        raise ConfigurationError(f"{source}: {error}") from error
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise ConfigurationError(f"{source}: {error}; known keys here: {known}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # The parser lets out what Python says of numbers with thousands of digits and of nesting.
        raise ConfigurationError(f"{source}: not TOML: {error}") from error


def _decode_path(kind: type[Any], value: object) -> Path:
    """msgspec asks here for the types that it does not know; paths are the only ones in use."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")
