"""What the file system says of a file, to see that it changed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError

from .source import FRESH_S

__all__ = ["FileState", "state_of"]


@dataclass(frozen=True)
class FileState:
    """Equal for two looks at a file that was not written between them."""

    device: int
    inode: int
    size: int
    written_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """What `stat` returned."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def is_fresh(self, now_s: float) -> bool:
        """Whether it was written within the last seconds; a time in the future tells nothing."""
        return 0 <= now_s - self.written_ns / 1e9 < FRESH_S


def state_of(path: Path) -> FileState:
    """The state of a file; ConfigurationError where there is none, or something else."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path}: not a file")
    return FileState.of(status)
