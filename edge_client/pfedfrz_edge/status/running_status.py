"""The small file in which a running device says how it is."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import msgspec

from pfedfrz_protocol import OperationError, decode_json

from .process_mark import ProcessMark

__all__ = ["RunningStatus", "read_status", "status_path", "write_status"]

_FILE = "status.json"


class RunningStatus(msgspec.Struct, frozen=True):
    """What a device's process knows of itself; times are Unix seconds of its clock."""

    process: ProcessMark
    boot_id: str
    started_at: float
    written_at: float
    connected: bool
    connected_since: float
    """Since when it is connected, or is not."""
    connection_fault: str
    state: str
    round: int
    coordinator_key: str | None
    bundle: str
    runtime: str
    samples: int
    waiting_for: str
    conditions: dict[str, str]
    ended_at: float | None = None
    """When it ended as it was told to; a process that was killed says nothing."""


def status_path(state_dir: Path, name: str) -> Path:
    """Where a device's process writes: below systemd's RuntimeDirectory, which is in memory and
    wears no card, or else in the state directory.

    In the state directory there is a link in the first case, so that whoever asks finds it.
    OperationError when the link cannot be made.
    """
    here = state_dir / _FILE
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not runtime:
        if here.is_symlink():
            here.unlink(missing_ok=True)
        return here
    there = Path(runtime) / f"{name}.{_FILE}"
    try:
        if not here.is_symlink() or here.readlink() != there:
            link = state_dir / f"{_FILE}.partial-{secrets.token_hex(4)}"
            link.symlink_to(there)
            link.replace(here)
    except OSError as error:
        raise OperationError(f"cannot write {here}: {error.strerror or error}") from error
    return there


def write_status(path: Path, status: RunningStatus) -> None:
    """Put a status at `path`, whole or not at all; OperationError when that cannot be.

    It is not flushed: after a power cut an old one is as good, and a card is spared.
    """
    partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(status))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OperationError(f"cannot write {path}: {error.strerror or error}") from error


def read_status(state_dir: Path) -> RunningStatus | None:
    """The last status of a device; None when there is none, or none that can be made out.

    OperationError when the file is there and may not be read.
    """
    path = state_dir / _FILE
    try:
        return decode_json(path.read_bytes(), RunningStatus)
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # a power cut may have left an empty one: it is not flushed
    except OSError as error:
        raise OperationError(f"cannot read {path}: {error.strerror or error}") from error
