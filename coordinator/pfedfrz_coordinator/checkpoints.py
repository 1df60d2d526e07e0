"""Model versions on disk, written before anybody is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import Parameters
from pfedfrz_storage import load_tensors, make_directory, remove_leftovers, save_tensors

__all__ = ["Checkpoints"]


@dataclass(frozen=True)
class Checkpoints:
    """The shared weights of the newest few versions, one verified file each."""

    directory: Path
    keep: int = 3
    """How many versions stay."""

    def prepare(self) -> None:
        """Make the directory and clear what a kill in mid-write left."""
        make_directory(self.directory)
        remove_leftovers(self.directory)

    def _path(self, version: int) -> Path:
        return self.directory / f"model-{version:09d}.safetensors"

    def save(self, version: int, shared: Parameters, bundle_digest: str) -> None:
        """Write one version durably, then let go of old ones."""
        notes = {"version": str(version), "bundle": bundle_digest}
        save_tensors(self._path(version), shared, notes)
        for old in sorted(self.directory.glob("model-*.safetensors"))[: -self.keep]:
            old.unlink(missing_ok=True)

    def load(self, version: int) -> Parameters:
        """The shared weights of one version; OperationError when they are gone or damaged."""
        tensors, _ = load_tensors(self._path(version))
        return tensors
