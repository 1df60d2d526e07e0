"""Accepted updates on disk, until the round that they are for is closed.

An update is acknowledged only when it is here, so that a killed coordinator loses none; and
aggregation reads them some columns at a time in a fixed order, so that neither memory nor open
files grow with the number of devices, and the order of arrival cannot change a bit of the result.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import OperationError
from pfedfrz_storage import make_directory, put_in_place, write_beside

__all__ = ["StoredUpdates", "UpdateStore"]

_ITEM_BYTES = 4


@dataclass(frozen=True)
class StoredUpdates:
    """Some devices' updates of one round, as rows to aggregate."""

    paths: tuple[Path, ...]
    parameters: int

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self.paths)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """The columns `start` to `stop` of all updates, `(clients, stop - start)` float32."""
        block = np.empty((len(self.paths), stop - start), np.float32)
        for row, path in zip(block, self.paths, strict=True):
            try:
                row[:] = np.fromfile(
                    path, np.float32, count=stop - start, offset=start * _ITEM_BYTES
                )
            except (OSError, ValueError) as error:
                raise OperationError(f"cannot read {path}: {error}") from error
        return block


class UpdateStore:
    """One folder a round, one float32 vector a device."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, round_number: int, device: str) -> Path:
        return self._directory / f"{round_number:09d}" / f"{device}.float32"

    def put(self, round_number: int, device: str, vector: NDArray[np.float32]) -> None:
        """Keep an update `(parameters,)` float32 durably."""
        self.prepare(round_number)
        self.adopt(round_number, {device: self.write_aside(round_number, device, vector)})

    def prepare(self, round_number: int) -> None:
        """Make the folder of a round."""
        make_directory(self._path(round_number, "any").parent)

    def write_aside(self, round_number: int, device: str, vector: NDArray[np.float32]) -> Path:
        """Write an update `(parameters,)` float32, flushed, beside its place; where it is.

        It counts for nothing before it is adopted. May be called from any thread.
        """
        path = self._path(round_number, device)
        return write_beside(path, np.ascontiguousarray(vector).data.cast("B"))

    def adopt(self, round_number: int, written: Mapping[str, Path]) -> None:
        """Put what was written aside in its place, for several devices with one flush."""
        put_in_place({path: self._path(round_number, device) for device, path in written.items()})

    @staticmethod
    def discard(written: Path) -> None:
        """Let go of what was written aside and is not wanted any more."""
        written.unlink(missing_ok=True)

    def holds(self, round_number: int, device: str, parameters: int) -> bool:
        """Whether the device's update is here and whole."""
        try:
            size = self._path(round_number, device).stat().st_size
        except OSError:
            return False
        return size == _ITEM_BYTES * parameters

    def open(self, round_number: int, devices: Sequence[str], parameters: int) -> StoredUpdates:
        """The updates of these devices; OperationError when one is missing or damaged."""
        for device in devices:
            if not self.holds(round_number, device, parameters):
                path = self._path(round_number, device)
                raise OperationError(f"{path} is missing or damaged: not {parameters} weights")
        return StoredUpdates(tuple(self._path(round_number, d) for d in devices), parameters)

    def drop_through(self, round_number: int) -> None:
        """Delete the updates of this round and of all before it."""
        if not self._directory.is_dir():
            return
        for folder in self._directory.iterdir():
            if folder.name.isdigit() and int(folder.name) <= round_number:
                shutil.rmtree(folder, ignore_errors=True)
