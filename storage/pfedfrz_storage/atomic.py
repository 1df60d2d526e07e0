"""Writing a file so that a reader, or a power cut, sees the old content or the new, never a part.

The order matters: write beside the target, flush the data to the disk, rename over the target, and
flush the directory, which is what makes the rename itself durable.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pfedfrz_protocol import OperationError

__all__ = [
    "make_directory",
    "put_in_place",
    "remove_leftovers",
    "sync_directory",
    "write_atomically",
    "write_beside",
]

_MARK = ".partial-"


def write_atomically(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Put `data` at `path` durably; OperationError, naming the path, when the disk refuses.

    On failure nothing of the new content is left behind and the old file is untouched.
    """
    put_in_place({write_beside(path, data, mode=mode): path})


def write_beside(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> Path:
    """Write `data`, flushed, to a new file beside `path`; its path, for `put_in_place`.

    OperationError, naming the path, when the disk refuses; then nothing is left behind.
    """
    partial = path.with_name(f"{path.name}{_MARK}{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    except BaseException as error:  # an interrupt too must leave nothing half-written
        _give_up(partial, path, error)
        raise
    return partial


def put_in_place(targets: Mapping[Path, Path]) -> None:
    """Move files that `write_beside` made over their targets, lastingly; `{partial: target}`.

    Each is in place or not, and the old file with it; all are when this returns. Many files of a
    directory cost one flush of it. OperationError when the disk refuses.
    """
    for partial, path in targets.items():
        try:
            partial.replace(path)
        except BaseException as error:
            _give_up(partial, path, error)
            raise
    for directory in {path.parent for path in targets.values()}:
        try:
            sync_directory(directory)
        except OSError as error:
            raise OperationError(f"cannot write {directory}: {error.strerror or error}") from error


def _give_up(partial: Path, path: Path, error: BaseException) -> None:
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
    if isinstance(error, OSError):
        raise OperationError(f"cannot write {path}: {error.strerror or error}") from error


def make_directory(directory: Path, *, mode: int = 0o755) -> None:
    """Make a directory and its parents so that they survive a power cut too.

    OperationError, naming the path, when the disk refuses. An existing one is left as it is.
    """
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=mode, exist_ok=True)
            sync_directory(path.parent)
    except OSError as error:
        raise OperationError(f"cannot make {directory}: {error.strerror or error}") from error


def remove_leftovers(directory: Path) -> None:
    """Delete what a kill in the middle of `write_atomically` left in `directory`."""
    for leftover in directory.glob(f"*{_MARK}*"):
        leftover.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` lasting. OSError when the disk refuses."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
