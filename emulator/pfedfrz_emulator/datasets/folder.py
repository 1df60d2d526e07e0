"""A folder of idx or idx.gz files that something else put on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError

from .idx import read_idx
from .published import PublishedFile, SourceUnavailable

__all__ = ["IdxFolder", "read_folder"]


@dataclass(frozen=True)
class IdxFolder:
    """Files named as published, with or without `.gz`."""

    directory: Path
    label: str

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Unpacked content by file name; SourceUnavailable when a file is missing or damaged."""
        if not self.directory.is_dir():
            raise SourceUnavailable("not installed")
        return read_folder(self.directory, files)


def read_folder(directory: Path, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
    """Unpacked content of the files in `directory`; SourceUnavailable names the fault."""
    contents = {}
    for file in files:
        candidates = (directory / file.name, directory / f"{file.name}.gz")
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise SourceUnavailable(f"{file.name} is not in {directory.name}")
        try:
            contents[file.name] = read_idx(found)
        except ConfigurationError as error:
            raise SourceUnavailable(str(error)) from error
    return contents
