"""Files that come into being together: all of them or, whatever refuses, none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import OperationError

__all__ = ["NewFile", "Owner", "apply_changes", "remove_partial"]

_MARK = ".partial-"


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom root gives all that is in one folder of the root directory, the folder included."""

    folder: str
    user: int
    group: int


@dataclass(frozen=True, slots=True)
class NewFile:
    """Content and mode; what anybody may have is 0644."""

    data: bytes
    mode: int = 0o600


def apply_changes(root: Path, changes: Mapping[str, NewFile], owner: Owner | None = None) -> None:
    """Write files below `root`, in order; new folders get mode 0700, `root` itself 0755.

    Everything that a disk can refuse comes first, beside the targets; then all are renamed. Raises
    OperationError, and leaves what was there before. A kill between two renames leaves the earlier
    files new and the later ones old, so the order is the caller's to choose.

    A file has its owner before it is in place: Mosquitto, told to read its files again, goes on
    without an access list when it cannot read the one that is there.
    """
    owned = None if owner is None else root / owner.folder
    made: list[Path] = []
    staged: list[tuple[Path, Path]] = []
    try:
        for name, file in changes.items():
            target = root / name
            _make_folders(target.parent, root, made)
            partial = target.with_name(f".{target.name}{_MARK}{secrets.token_hex(4)}")
            staged.append((partial, target))
            _write(partial, file)
            if owner is not None and owned in target.parents:
                os.chown(partial, owner.user, owner.group)
        if owner is not None and owned in made:
            os.chown(root / owner.folder, owner.user, owner.group)
        for partial, target in staged:
            partial.replace(target)
        for folder in {target.parent for _, target in staged} | {f.parent for f in made}:
            _flush(folder)
    except BaseException as error:  # an interrupt too must leave nothing half-made
        for partial, _ in staged:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise OperationError(
                f"cannot write {error.filename or root}: {error.strerror or error}"
            ) from error
        raise


def remove_partial(root: Path) -> None:
    """Delete what a kill in the middle of `apply_changes` left below `root`."""
    for partial in root.rglob(f".*{_MARK}*"):
        with contextlib.suppress(OSError):
            partial.unlink()


def _make_folders(folder: Path, root: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700 if root in path.parents else 0o755)
        made.append(path)


def _write(path: Path, file: NewFile) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
