"""Lists of public keys that a person keeps: TOML files that are followed while they change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, PublicKey
from pfedfrz_protocol.messages import Name
from pfedfrz_storage import read_configuration

__all__ = ["FollowedKeys", "read_accept_list", "read_operators"]

log = logging.getLogger(__name__)


class _AcceptList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: dict[Name, PublicKey] = {}


class _Operators(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operators: dict[Name, PublicKey] = {}


def read_accept_list(path: Path) -> dict[str, str]:
    """`{device: public key}`; ConfigurationError names the file and the fault."""
    return read_configuration(path, _AcceptList).devices


def read_operators(path: Path) -> dict[str, str]:
    """`{operator: public key}`; ConfigurationError names the file and the fault."""
    return read_configuration(path, _Operators).operators


class FollowedKeys:
    """One such file. What is wrong with it at the start is raised, what becomes wrong is logged."""

    def __init__(self, path: Path, read: Callable[[Path], dict[str, str]], what: str) -> None:
        """`what` is what log lines call the list."""
        self.path = path
        self._read = read
        self._what = what
        self._stamp: tuple[int, int] | None = None
        self.keys: Mapping[str, str] = {}
        """As they were last read."""

    def look(self) -> bool:
        """Read the file if it is another than at the last call; whether the keys are new ones.

        A file that cannot be read any more leaves them as they are. Raises ConfigurationError at
        the first call alone.
        """
        stamp = self._stamp
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return False
            self.keys = self._read(self.path)
        except OSError as error:
            if self._stamp is None:
                raise ConfigurationError(
                    f"{self.path}: cannot be read: {error.strerror}"
                ) from error
            return False
        except ConfigurationError as error:
            if self._stamp is None:
                raise
            log.error("the %s stays as it was: %s", self._what, error)
            self._stamp = stamp
            return False
        self._stamp = stamp
        return True
