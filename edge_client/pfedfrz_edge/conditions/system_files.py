"""The kernel's own files, read under a root directory that a test puts in their place."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["SystemFiles"]

log = logging.getLogger(__name__)


class SystemFiles:
    """Reads /proc and /sys; what cannot be read is said once for each file."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._said: set[str] = set()

    def text(self, path: str) -> str | None:
        """The content of a file, `path` without its leading slash; None if it cannot be read."""
        try:
            return (self._root / path).read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            self.complain(path, error.strerror or str(error))
            return None

    def number(self, path: str) -> int | None:
        """The whole number in a file; None if it cannot be read or is none."""
        text = self.text(path)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            self.complain(path, f"{text[:40]!r} is no number")
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self._root / path).exists()

    def folders(self, path: str, pattern: str = "*") -> list[str]:
        """The entries of a directory by name, as paths; none where there is no directory."""
        found = sorted((self._root / path).glob(pattern))
        return [f"{path}/{entry.name}" for entry in found]

    def complain(self, path: str, fault: str) -> None:
        """Say once what is wrong with a file."""
        if path not in self._said:
            self._said.add(path)
            log.warning("/%s cannot be used: %s", path, fault)
