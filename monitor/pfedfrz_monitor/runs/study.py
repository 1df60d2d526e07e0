"""study.json: what a study's directory says of it beside its finished cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pfedfrz_protocol import OperationError
from pfedfrz_storage import write_atomically

__all__ = ["CELLS_FILE", "STUDY_FILE", "FinishedCell", "StudyDescription", "read_cells"]

STUDY_FILE = "study.json"
CELLS_FILE = "cells.jsonl"


class StudyDescription(msgspec.Struct, frozen=True):
    """A study as it was begun."""

    name: str
    command: str
    cells: int
    """How many there are when it is finished."""
    started_at: str
    """Wall clock time with its zone."""
    environment: dict[str, str] = {}

    def save(self, directory: Path) -> None:
        """Write study.json, unless one is there that says the same but for the time."""
        known = StudyDescription.load(directory)
        if known is not None:
            same = msgspec.structs.replace(self, started_at=known.started_at)
            if same == known:
                return
        text = json.dumps(msgspec.to_builtins(self), indent=1)
        write_atomically(directory / STUDY_FILE, text.encode() + b"\n")

    @staticmethod
    def load(directory: Path) -> StudyDescription | None:
        """What `directory` holds; None without one, or with one that cannot be read: a study goes
        on without it.
        """
        try:
            content = json.loads((directory / STUDY_FILE).read_bytes())
            return msgspec.convert(content, StudyDescription)
        except (OSError, ValueError, RecursionError):
            return None

    @property
    def began(self) -> float | None:
        """Unix seconds of the start."""
        try:
            return datetime.fromisoformat(self.started_at).timestamp()
        except (ValueError, OverflowError, OSError):
            return None


class _Measured(msgspec.Struct, frozen=True):
    received: float | None
    local: float | None


class FinishedCell(msgspec.Struct, frozen=True):
    """What is read of a finished cell; the rest of its line is the study's own."""

    variant: str
    experiment: dict[str, Any]
    rounds: tuple[_Measured, ...]
    wall_s: float


def read_cells(directory: Path) -> Iterator[FinishedCell]:
    """The finished cells of a study. OperationError names a line that is none."""
    path = directory / CELLS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperationError(f"{path}: cannot be read: {error.strerror}") from error
    # A last line without an end is where a running, or killed, study is.
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            yield msgspec.json.decode(line, type=FinishedCell)
        except (msgspec.DecodeError, RecursionError) as error:
            raise OperationError(f"{path}, line {number}: not a finished cell: {error}") from error
