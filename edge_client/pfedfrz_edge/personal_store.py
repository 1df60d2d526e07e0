"""The personal weights on the device's disk. They exist nowhere else, so losing them is final.

Every save is a new file with a higher sequence number; the one before stays until the next save.
A file that does not verify is set aside under another name, said, and the one before is used.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, OperationError, Parameters, sha256_hex
from pfedfrz_storage import DamagedFile, load_tensors, remove_leftovers, save_tensors

__all__ = ["PersonalStore", "StoredPersonal"]

log = logging.getLogger(__name__)
_KEEP = 2
_SEAL = "seal"
_NAME = re.compile(r"personal-[0-9]{9}\.safetensors")
"""Not what a person has put beside them, such as a copy."""


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

    def _files(self) -> list[Path]:
        """The saved files, newest first."""
        named = self._directory.glob("personal-*.safetensors")
        return sorted((path for path in named if _NAME.fullmatch(path.name)), reverse=True)

    def save(self, stored: StoredPersonal) -> None:
        """Write durably; OperationError when the disk refuses, the old file then still holds."""
        files = self._files()
        newest = int(files[0].stem.rpartition("-")[2]) if files else 0
        path = self._directory / f"personal-{newest + 1:09d}.safetensors"
        notes = {
            "bundle": self._bundle,
            "round": str(stored.round),
            "phase": str(stored.phase),
            "base": stored.base,
            **_numbers(received=stored.received, received_loss=stored.received_loss),
        }
        save_tensors(path, stored.weights, {**notes, _SEAL: _seal(notes)}, mode=0o600)
        for old in files[_KEEP - 1 :]:
            with contextlib.suppress(OSError):  # the next save tries again
                old.unlink(missing_ok=True)

    def load(self) -> StoredPersonal | None:
        """The newest weights that verify; None when there are none yet.

        Raises ConfigurationError when they belong to another bundle, and OperationError when
        a file cannot be read, which leaves it in its place, or when there are files but not one
        of them verifies: starting anew would hide a loss.
        """
        files = self._files()
        for path in files:
            try:
                stored, bundle = _load_sealed(path)
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


def _seal(notes: Mapping[str, str]) -> str:
    """What vouches for the notes: the file's own digest is over the weights only."""
    return sha256_hex(msgspec.json.encode(notes, order="sorted"))


def _load_sealed(path: Path) -> tuple[StoredPersonal, str]:
    """What is stored, and the digest of the bundle that it is of; DamagedFile."""
    weights, notes = load_tensors(path)
    try:
        if notes.pop(_SEAL, None) != _seal(notes):
            raise ValueError("they are not the ones that were written")
        stored = StoredPersonal(
            weights,
            int(notes["round"]),
            int(notes["phase"]),
            notes.get("base", ""),
            _number(notes.get("received")),
            _number(notes.get("received_loss")),
        )
    except (KeyError, ValueError) as error:
        raise DamagedFile(f"{path} is damaged: of its notes, {error}") from error
    return stored, notes.get("bundle", "")
