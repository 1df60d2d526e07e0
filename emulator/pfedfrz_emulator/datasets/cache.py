"""Dataset files kept on this machine, so that a source is asked once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError
from pfedfrz_storage import write_atomically

from .idx import read_idx
from .published import PublishedFile, SourceUnavailable

__all__ = ["DatasetCache", "default_cache_dir"]


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/pfedfrz/datasets`, by default below `~/.cache`."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG rules say that a relative path is to be ignored.
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    return base / "pfedfrz" / "datasets"


@dataclass(frozen=True)
class DatasetCache:
    """The folder of one dataset within the cache; files are written whole or not at all.

    It takes nothing on trust: whoever reads from it compares the digests, every time.
    """

    directory: Path

    @property
    def label(self) -> str:
        """How a message names it."""
        return f"the cache {self.directory}"

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Content by file name; SourceUnavailable when a file is not there or not readable."""
        absent = [file.name for file in files if not (self.directory / file.name).is_file()]
        if len(absent) == len(files):
            raise SourceUnavailable("empty")
        if absent:
            raise SourceUnavailable(f"{absent[0]} is missing")
        try:
            return {file.name: read_idx(self.directory / file.name) for file in files}
        except ConfigurationError as error:
            raise SourceUnavailable(str(error)) from error

    def store(self, contents: Mapping[str, bytes]) -> None:
        """Write the files; SourceUnavailable when the disk refuses."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                write_atomically(self.directory / name, content)
        except (OSError, OperationError) as error:
            raise SourceUnavailable(str(error)) from error
