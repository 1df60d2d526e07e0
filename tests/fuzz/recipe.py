"""Inputs that are taken apart: the first bytes choose, the rest is what is decoded."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["Recipe", "scratch"]


class Recipe:
    """Bytes, read from the front; behind their end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, size: int = 1) -> int:
        """The next `size` bytes as a number from 0."""
        taken = self._data[self._place : self._place + size]
        self._place += size
        return int.from_bytes(taken, "little")

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._place >= len(self._data)

    def rest(self) -> bytes:
        """All that is left."""
        taken, self._place = self._data[self._place :], len(self._data)
        return taken


@cache
def scratch() -> Path:
    """A folder of this process for readers that want a file; in memory where that can be."""
    if given := os.environ.get("PFEDFRZ_FUZZ_SCRATCH"):
        return Path(given)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp("-fuzz", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
