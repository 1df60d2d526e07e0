"""One process for one state directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError

from .atomic import make_directory

__all__ = ["is_locked", "lock_directory"]

_FILE = "in-use.lock"
_LOCKS = Path("/proc/locks")


@contextlib.contextmanager
def lock_directory(directory: Path, *, mode: int = 0o755) -> Iterator[None]:
    """Hold `directory`, made if need be, for this process alone while the context lasts.

    Raises ConfigurationError when another process holds it, and OperationError when the disk
    refuses. The kernel ends the lock with the process, however that ends; the file stays.
    """
    make_directory(directory, mode=mode)
    path = directory / _FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OperationError(f"cannot open {path}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"{directory} is in use by another process; end that one, or choose another "
                "state_dir"
            ) from error
        except OSError as error:
            raise OperationError(f"cannot lock {path}: {error.strerror or error}") from error
        yield
    finally:
        os.close(descriptor)


def is_locked(directory: Path) -> bool | None:
    """Whether a process holds `directory`; None where the system does not tell.

    It is read from the kernel's list: to try the lock would keep out a process that starts at that
    very moment.
    """
    try:
        inode = (directory / _FILE).stat().st_ino
        lines = _LOCKS.read_text().splitlines()
    except FileNotFoundError:
        return None if (directory / _FILE).exists() else False
    except OSError:
        return None
    # `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`; a line with `->` only waits.
    fields = [line.split() for line in lines if " FLOCK " in line and "->" not in line]
    return any(f[5].rpartition(":")[2] == str(inode) for f in fields if len(f) > 5)
