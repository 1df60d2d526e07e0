"""Weights in numbered files, KIND-000000001.safetensors and so on, with notes that are vouched for.

Every save is a new file with a higher number; the one before stays until the next save.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from pfedfrz_protocol import Parameters, sha256_hex
from pfedfrz_storage import DamagedFile, load_tensors, save_tensors

__all__ = ["SealedVersions", "load_sealed"]

_KEEP = 2
_SEAL = "seal"
Understood = TypeVar("Understood")


class SealedVersions:
    """The files of one kind in one directory, which whoever saves has made."""

    def __init__(self, directory: Path, kind: str) -> None:
        self._directory = directory
        self._kind = kind
        # Not what a person has put beside them, such as a copy.
        self._name = re.compile(re.escape(kind) + r"-[0-9]{9}\.safetensors")

    def files(self) -> list[Path]:
        """The saved files, newest first."""
        named = self._directory.glob(f"{self._kind}-*.safetensors")
        return sorted((path for path in named if self._name.fullmatch(path.name)), reverse=True)

    def save(self, weights: Parameters, notes: Mapping[str, str]) -> None:
        """Write durably; OperationError when the disk refuses, the old file then still holds."""
        files = self.files()
        newest = int(files[0].stem.rpartition("-")[2]) if files else 0
        path = self._directory / f"{self._kind}-{newest + 1:09d}.safetensors"
        save_tensors(path, weights, {**notes, _SEAL: _seal(notes)}, mode=0o600)
        for old in files[_KEEP - 1 :]:
            with contextlib.suppress(OSError):  # the next save tries again
                old.unlink(missing_ok=True)


def load_sealed(
    path: Path, understand: Callable[[Parameters, dict[str, str]], Understood]
) -> Understood:
    """What `understand` makes of the weights and notes of a file that was saved.

    Raises DamagedFile when they are not the ones that were written, or when `understand` raises
    KeyError or ValueError, and another OperationError when the file cannot be read now.
    """
    weights, notes = load_tensors(path)
    try:
        if notes.pop(_SEAL, None) != _seal(notes):
            raise ValueError("they are not the ones that were written")
        return understand(weights, notes)
    except (KeyError, ValueError) as error:
        raise DamagedFile(f"{path} is damaged: of its notes, {error}") from error


def _seal(notes: Mapping[str, str]) -> str:
    """What vouches for the notes: the file's own digest is over the weights only."""
    return sha256_hex(msgspec.json.encode(notes, order="sorted"))
