"""The updates that a worker has accepted, on its own disk until their round is over.

One folder a round and one file an update, named by device and digest of what was uploaded: an
update that was accepted is never overwritten by another one of its device, and adding up takes
exactly those that the coordinator names. A file is

    header length u32 little-endian | JSON header | the difference to the model, float16

The sum is made of the files when it is asked for, not kept up with every update: then a worker that
was killed, one that is asked twice and one whose update was counted elsewhere are one case.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import OperationError
from pfedfrz_storage import make_directory, remove_leftovers, write_atomically

from .aggregation import ExactSum

__all__ = ["HeldHeader", "NotHeld", "WorkerStore"]

_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 4096


class HeldHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the coordinator was told of an update."""

    samples: int
    norm: float


class NotHeld(Exception):
    """Updates that were named are not here."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        super().__init__(f"not held: {', '.join(devices)}")


@dataclass(frozen=True)
class WorkerStore:
    """The updates in one directory."""

    directory: Path
    parameters: int

    def prepare(self) -> None:
        """Clear what a kill in mid-write left."""
        make_directory(self.directory)
        for folder in self.directory.iterdir():
            if folder.is_dir():
                remove_leftovers(folder)

    def put(
        self,
        round_number: int,
        device: str,
        digest: str,
        header: HeldHeader,
        numbers: NDArray[np.float16],
    ) -> None:
        """Keep an update durably; OperationError when the disk refuses. From any thread."""
        make_directory(self._folder(round_number))
        head = msgspec.json.encode(header)
        body = np.ascontiguousarray(numbers, np.float16).tobytes()
        write_atomically(
            self._path(round_number, device, digest), _LENGTH.pack(len(head)) + head + body
        )

    def find(self, round_number: int, device: str, digest: str) -> HeldHeader | None:
        """What is known of an update that is here and whole; None for any other."""
        found = self._read(round_number, device, digest)
        return found[0] if found else None

    def add_up(self, round_number: int, updates: Sequence[tuple[str, str]]) -> ExactSum:
        """The exact sum of these (device, digest), each once; NotHeld when some are not here."""
        total = ExactSum(self.parameters)
        missing = list[str]()
        for device, digest in dict(updates).items():
            found = self._read(round_number, device, digest)
            if found is None:
                missing.append(device)
            elif not missing:
                total.add(found[1], found[0].samples)
        if missing:
            raise NotHeld(tuple(missing))
        return total

    def drop_before(self, round_number: int) -> None:
        """Delete the updates of all rounds before this one."""
        for folder in self.directory.iterdir():
            if folder.name.isdigit() and int(folder.name) < round_number:
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, round_number: int) -> Path:
        return self.directory / f"{round_number:09d}"

    def _path(self, round_number: int, device: str, digest: str) -> Path:
        return self._folder(round_number) / f"{device}@{digest}"

    def _read(
        self, round_number: int, device: str, digest: str
    ) -> tuple[HeldHeader, NDArray[np.float16]] | None:
        """Header and numbers; None when the file is not there or not whole."""
        path = self._path(round_number, device, digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error.strerror}") from error
        if len(data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size + length
        if length > _LONGEST_HEADER or len(data) != start + 2 * self.parameters:
            return None
        try:
            header = msgspec.json.decode(data[_LENGTH.size : start], type=HeldHeader)
        except msgspec.MsgspecError:
            return None
        numbers = np.frombuffer(data, np.float16, self.parameters, start)
        if not header.samples >= 1 or not np.isfinite(numbers).all():
            return None
        return header, numbers
