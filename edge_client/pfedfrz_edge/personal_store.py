"""The personal weights on the device's disk. They exist nowhere else, so losing them is final.

Every save is a new file with a higher sequence number; the one before stays until the next save.
A file that does not verify is set aside under another name, said, and the one before is used.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError, Parameters
from pfedfrz_storage import DamagedFile, remove_leftovers

from .sealed_versions import SealedVersions, load_sealed

__all__ = ["PersonalStore", "StoredPersonal"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPersonal:
    """Personal weights and where they come from."""

    weights: Parameters
    round: int
    """The round whose training produced them."""
    phase: int
    """The phase of that round, counted from 0."""
    base: str = ""
    """Digest of the shared weights that the round began with."""
    received: float | None = None
    """The accuracy with those, measured before anything of the round was trained."""
    received_loss: float | None = None
    """The loss, likewise."""


class PersonalStore:
    """Versioned, verified personal weights of one bundle in one directory."""

    def __init__(self, directory: Path, bundle_digest: str) -> None:
        self._directory = directory
        self._bundle = bundle_digest
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OperationError(f"cannot make {directory}: {error.strerror}") from error
        remove_leftovers(directory)
        self._versions = SealedVersions(directory, "personal")

    def save(self, stored: StoredPersonal) -> None:
        """Write durably; OperationError when the disk refuses, the old file then still holds."""
        notes = {
            "bundle": self._bundle,
            "round": str(stored.round),
            "phase": str(stored.phase),
            "base": stored.base,
            **_numbers(received=stored.received, received_loss=stored.received_loss),
        }
        self._versions.save(stored.weights, notes)

    def load(self) -> StoredPersonal | None:
        """The newest weights that verify; None when there are none yet.

        Raises ConfigurationError when they belong to another bundle, and OperationError when
        a file cannot be read, which leaves it in its place, or when there are files but not one
        of them verifies: starting anew would hide a loss.
        """
        for path in self._versions.files():
            try:
                stored, bundle = load_sealed(path, _understand)
            except DamagedFile as error:
                aside = _set_aside(path)
                log.error("%s; kept as %s, using the version before it", error, aside.name)
                continue
            if bundle != self._bundle:
                raise ConfigurationError(
                    f"{self._directory} holds personal weights of another bundle; "
                    "choose another state_dir or bring back that bundle"
                )
            return stored
        if any(self._directory.glob("personal-*.damaged")):
            raise OperationError(
                f"no personal weights in {self._directory} can be read; "
                "restore them from a backup, or empty the directory to begin anew"
            )
        return None


def _set_aside(path: Path) -> Path:
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        raise OperationError(
            f"{path} is damaged and cannot be renamed: {error.strerror}"
        ) from error
    return aside


def _numbers(**values: float | None) -> dict[str, str]:
    """Those that there are, as text that reads back to the same bits."""
    return {name: repr(value) for name, value in values.items() if value is not None}


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _understand(weights: Parameters, notes: dict[str, str]) -> tuple[StoredPersonal, str]:
    """What is stored, and the digest of the bundle that it is of."""
    stored = StoredPersonal(
        weights,
        int(notes["round"]),
        int(notes["phase"]),
        notes.get("base", ""),
        _number(notes.get("received")),
        _number(notes.get("received_loss")),
    )
    return stored, notes.get("bundle", "")
