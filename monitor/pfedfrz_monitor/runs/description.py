"""run.json: what `pfedfrz emulate` knows of a run and its journal does not.

Written when the run begins, and again with what came of it when it has ended: also a run that was
interrupted can be reported.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec

from pfedfrz_protocol import OperationError
from pfedfrz_storage import write_atomically

from ..report.records import RunSettings

__all__ = ["DESCRIPTION_FILE", "DescribedDevice", "RunDescription"]

DESCRIPTION_FILE = "run.json"
_FORMAT = 1
_LARGEST = 256 << 20


class DescribedDevice(msgspec.Struct, frozen=True):
    """One device of the run."""

    name: str
    attacker: bool
    samples: int
    label_mix: tuple[float, ...]


class RunDescription(msgspec.Struct, frozen=True):
    """A run of an emulated fleet."""

    settings: RunSettings
    devices: tuple[DescribedDevice, ...]
    asked: dict[str, Any]
    """Every option of the experiment, for comparing runs."""
    environment: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    faults: dict[str, int] = {}
    """What went wrong on purpose, by kind and in the plural."""
    wall_s: float | None = None
    """None until it has ended."""
    format: int = _FORMAT

    def save(self, directory: Path) -> None:
        """Write run.json into `directory`; OperationError when the disk refuses."""
        # json writes what is no text, as a path's bytes may be, in an escaped form; msgspec not.
        text = json.dumps(msgspec.to_builtins(self), indent=1)
        write_atomically(directory / DESCRIPTION_FILE, text.encode() + b"\n")

    @staticmethod
    def load(directory: Path) -> RunDescription | None:
        """What `directory` holds; None without one, OperationError for one that is damaged."""
        path = directory / DESCRIPTION_FILE
        try:
            told = msgspec.convert(json.loads(_bounded(path)), RunDescription)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperationError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise OperationError(
                f"{path} is damaged: {error}; move it away to report without it"
            ) from error
        if told.format != _FORMAT:
            raise OperationError(
                f"{path} has format {told.format}; this pfedfrz reads {_FORMAT}: use the version "
                "that wrote it"
            )
        return told


def _bounded(path: Path) -> bytes:
    """A file's content; OperationError for what would never end, or never begin."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OperationError(f"{path} is no regular file; move it away to report without it")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OperationError(
            f"{path} is larger than {_LARGEST >> 20} MiB; move it away to report without it"
        )
    return content
