"""The files below a folder of images, one folder for each label; what leaves the folder is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError

from .file_state import FileState
from .image_settings import check_labels

__all__ = ["Found", "ImageFile", "find_images", "find_labels", "label_names", "read_whole"]

LABELS_FILE = "labels.txt"
_MOST_LABELS_BYTES = 1 << 20
_MOST_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class ImageFile:
    """One file that may hold a sample."""

    name: str
    """LABEL/FILE."""
    label: int
    path: Path
    state: FileState


@dataclass(frozen=True)
class Found:
    """One look at the folder."""

    files: tuple[ImageFile, ...]
    skipped: tuple[tuple[str, str], ...]
    """(name, why) of what is there and is no file of a label."""


def label_names(root: Path, configured: tuple[str, ...], wanted: int) -> tuple[str, ...]:
    """The labels in the order of their numbers, `wanted` of them.

    ConfigurationError where there are more or fewer: with a folder too few, in the order of names,
    every number behind the gap would be another class than elsewhere in the federation.
    """
    labels, where = find_labels(root, configured)
    if len(labels) != wanted:
        raise ConfigurationError(
            f"{where}: {len(labels)} labels, the bundle's model knows {wanted}; name them all in "
            f"the order of their numbers, in labels = [...] under [data.images] or in {LABELS_FILE}"
        )
    return labels


def find_labels(root: Path, configured: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The labels in the order of their numbers, and where that is said.

    They are those configured, else those in labels.txt, else all folders by name.
    ConfigurationError for a list or a folder that cannot be read.
    """
    if configured:
        return configured, "[data.images] labels"
    if listed := _labels_file(root):
        return listed, str(root / LABELS_FILE)
    return tuple(sorted(entry.name for entry in _entries(root) if _is_label(entry))), str(root)


def find_images(root: Path, labels: tuple[str, ...]) -> Found:
    """What is in the folders of the labels; ConfigurationError where `root` cannot be read."""
    inside = _resolved(root)
    numbers = {label: number for number, label in enumerate(labels)}
    files: list[ImageFile] = []
    skipped: list[tuple[str, str]] = []
    for folder in _entries(root):
        if folder.name == LABELS_FILE:
            continue
        if folder.name not in numbers:
            skipped.append((folder.name, "not the folder of a label"))
            continue
        place = Path(os.path.realpath(folder.path))
        if not place.is_relative_to(inside) or not place.is_dir():
            skipped.append((folder.name, "not a folder, or a link out of this one"))
            continue
        for entry in _entries(place):
            name = f"{folder.name}/{entry.name}"
            found = _look_at(entry, inside)
            if isinstance(found, str):
                skipped.append((name, found))
            else:
                files.append(ImageFile(name, numbers[folder.name], *found))
    return Found(tuple(files), tuple(skipped))


def read_whole(file: ImageFile) -> bytes | None:
    """The content; None for a file that is being written or has gone since it was found."""
    try:
        # Not blocking, should a pipe have come in its place.
        handle = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as opened:
            if FileState.of(os.fstat(handle)) != file.state:
                return None
            content = opened.read(file.state.size + 1)
            return content if FileState.of(os.fstat(handle)) == file.state else None
    except OSError:
        return None


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder but hidden names; ConfigurationError where that cannot be said."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be read: {error.strerror}") from error


def _is_label(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _resolved(root: Path) -> Path:
    return Path(os.path.realpath(root))


def _look_at(entry: os.DirEntry[str], inside: Path) -> tuple[Path, FileState] | str:
    """Where the file really is and its state, or why it is none."""
    path = Path(entry.path)
    try:
        if entry.is_symlink():
            path = Path(os.path.realpath(path))
            if not path.is_relative_to(inside):
                return "a link out of the folder"
        status = path.stat()
    except OSError as error:
        return error.strerror or "cannot be read"
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    if status.st_size > _MOST_FILE_BYTES:
        return f"{status.st_size >> 20} MiB, more than {_MOST_FILE_BYTES >> 20}"
    return path, FileState.of(status)


def _labels_file(root: Path) -> tuple[str, ...]:
    path = root / LABELS_FILE
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_LABELS_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_LABELS_BYTES:
        raise ConfigurationError(f"{path}: larger than {_MOST_LABELS_BYTES >> 20} MiB")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error.reason}") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    check_labels(str(path), labels)
    return labels
