"""The model that a device uses: its shared and personal weights, as it last trained them together.

The two groups fit only each other, so they are kept as a pair, apart from the personal weights that
the next round begins with. One file is written for each training, durably; the one before stays
until the next. Whoever reads does so beside the device that writes, and changes nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError, Parameters
from pfedfrz_storage import DamagedFile

from .sealed_versions import SealedVersions, load_sealed

__all__ = ["FoundModel", "KeptModel", "ModelStore"]

_LOOKS = 3


@dataclass(frozen=True)
class KeptModel:
    """Weights after a round's training."""

    weights: Parameters
    """Both groups, and the device's own copies where the schedule keeps some."""
    round: int
    base: str
    """Digest of the shared weights that the round began with."""


@dataclass(frozen=True)
class FoundModel:
    """A kept model, and where it was."""

    model: KeptModel
    path: Path
    saved_at: float
    """Unix seconds of the device's clock."""
    damaged: tuple[str, ...] = ()
    """What was wrong with newer files, in one line each."""


class ModelStore:
    """The models of one bundle in one directory, which whoever saves has made."""

    def __init__(self, directory: Path, bundle_digest: str) -> None:
        self._directory = directory
        self._bundle = bundle_digest
        self._versions = SealedVersions(directory, "model")

    def save(self, model: KeptModel) -> None:
        """Write durably; OperationError when the disk refuses, the old file then still holds."""
        notes = {"bundle": self._bundle, "round": str(model.round), "base": model.base}
        self._versions.save(model.weights, notes)

    def load(self) -> FoundModel | None:
        """The newest model that verifies; None before the first training.

        Raises ConfigurationError when it is of another bundle, and OperationError when no file can
        be read or none verifies.
        """
        for _ in range(_LOOKS):
            files = self._versions.files()
            try:
                return self._first_good(files)
            except OperationError:
                # The device may have put a newer one in its place between the two looks.
                if self._versions.files() == files:
                    raise
        raise OperationError(f"the models in {self._directory} change all the time; try again")

    def forget(self) -> None:
        """Remove all of them, of whichever bundle: a round that is trained makes a new one."""
        for path in self._versions.files():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _first_good(self, files: list[Path]) -> FoundModel | None:
        damaged = list[str]()
        for path in files:
            try:
                model, bundle = load_sealed(path, _understand)
            except DamagedFile as error:
                damaged.append(str(error))
                continue
            if bundle != self._bundle:
                raise ConfigurationError(
                    f"{path} is a model of another bundle ({bundle[:12]}..., the configuration "
                    f"names {self._bundle[:12]}...): bring back that bundle, or let the device "
                    "train a round with this one"
                )
            return FoundModel(model, path, _written_at(path), tuple(damaged))
        if damaged:
            raise OperationError(f"{damaged[0]}; the next round that is trained writes a new one")
        return None


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror or error}") from error


def _understand(weights: Parameters, notes: dict[str, str]) -> tuple[KeptModel, str]:
    """What is kept, and the digest of the bundle that it is of."""
    return KeptModel(weights, int(notes["round"]), notes["base"]), notes["bundle"]
