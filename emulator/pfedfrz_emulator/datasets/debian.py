"""Dataset files that lie in a Debian package, fetched with apt without installing it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .client import run_client
from .folder import read_folder
from .published import PublishedFile, SourceUnavailable

__all__ = ["DebianPackage"]


@dataclass(frozen=True)
class DebianPackage:
    """`apt-get download` and `dpkg-deb -x` into a temporary folder; needs no privileges."""

    package: str
    folder: str
    """Where the files lie below the root, without a leading slash."""
    timeout_s: float = 180.0

    @property
    def label(self) -> str:
        """How a message names it."""
        return f"Debian package {self.package}"

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Unpacked content by file name; SourceUnavailable without apt or without a network."""
        with tempfile.TemporaryDirectory(prefix="pfedfrz-apt-") as name:
            directory = Path(name)
            brief = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10")
            command = ("apt-get", *brief, "download", self.package)
            run_client(command, directory, self.timeout_s)
            archives = sorted(directory.glob("*.deb"))
            if not archives:
                raise SourceUnavailable("apt-get left no archive")
            return self.read_archive(archives[0], files)

    def read_archive(self, archive: Path, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Unpacked content of the files in a .deb archive."""
        with tempfile.TemporaryDirectory(prefix="pfedfrz-deb-") as name:
            root = Path(name)
            run_client(("dpkg-deb", "-x", str(archive), str(root)), root, self.timeout_s)
            return read_folder(root / self.folder, files)
