"""The idx files of EMNIST where somebody has put them: a folder, or the archive itself."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

from .idx import MAX_IDX_BYTES, gunzip, parse_idx
from .published import SourceUnavailable

__all__ = ["EmnistFile", "FoundFile", "find_files"]

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class EmnistFile:
    """One idx file: its name without .gz, the sha256 of the official .gz, and its array's shape."""

    name: str
    packed_sha256: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FoundFile:
    """The array of a file, uint8, and whether it was the official packed file."""

    name: str
    array: NDArray[np.uint8]
    official: bool


def find_files(place: Path, files: Sequence[EmnistFile]) -> list[FoundFile]:
    """The files in a folder, in its subfolder `gzip`, or in a zip archive; packed or not.

    SourceUnavailable names what is missing, damaged, or of another shape than the official file.
    """
    if place.is_file():
        return _from_archive(place, files)
    if not place.is_dir():
        raise SourceUnavailable("nothing is there")
    return [_read(_find(place, file), file) for file in files]


def _find(folder: Path, file: EmnistFile) -> Path:
    for candidate in (folder, folder / "gzip"):
        for name in (f"{file.name}.gz", file.name):
            if (candidate / name).is_file():
                return candidate / name
    raise SourceUnavailable(f"{file.name}.gz is missing")


def _read(path: Path, file: EmnistFile) -> FoundFile:
    try:
        if path.stat().st_size > MAX_IDX_BYTES:
            raise SourceUnavailable(f"{path} is larger than {MAX_IDX_BYTES} bytes")
        return _checked(path.read_bytes(), file)
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror or error}") from error


def _from_archive(path: Path, files: Sequence[EmnistFile]) -> list[FoundFile]:
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(member.filename).name: member for member in archive.infolist()}
            for file in files:
                member = members.get(f"{file.name}.gz")
                if member is None:
                    raise SourceUnavailable(f"{file.name}.gz is not in the archive")
                if member.file_size > MAX_IDX_BYTES:
                    raise SourceUnavailable(f"{file.name}.gz is larger than {MAX_IDX_BYTES} bytes")
                found.append(_checked(archive.read(member), file))
    except SourceUnavailable:
        raise
    except Exception as error:  # of damaged archives errors come that have no common base
        raise SourceUnavailable(f"not a readable zip archive: {error}") from error
    return found


def _checked(data: bytes, file: EmnistFile) -> FoundFile:
    official = hashlib.sha256(data).hexdigest() == file.packed_sha256
    try:
        content = gunzip(data, file.name) if data.startswith(_GZIP_MAGIC) else data
        array = parse_idx(content, file.name, len(file.shape))
    except ConfigurationError as error:
        raise SourceUnavailable(str(error)) from error
    if array.shape != file.shape:
        raise SourceUnavailable(f"{file.name} has shape {array.shape}, the official {file.shape}")
    return FoundFile(file.name, array, official)
