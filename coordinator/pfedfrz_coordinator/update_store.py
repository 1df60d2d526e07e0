"""Accepted updates on disk, until the round that they are for is closed.

An update is acknowledged only when it is here, so that a killed coordinator loses none; and
aggregation reads them memory-mapped in a fixed order, so that memory does not grow with the number
of devices and arrival order cannot change a bit of the result.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import OperationError
from pfedfrz_storage import write_atomically

__all__ = ["UpdateStore"]


class UpdateStore:
    """One folder a round, one float32 vector a device."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, round_number: int, device: str) -> Path:
        return self._directory / f"{round_number:09d}" / f"{device}.float32"

    def put(self, round_number: int, device: str, vector: NDArray[np.float32]) -> None:
        """Keep an update `(parameters,)` float32 durably."""
        path = self._path(round_number, device)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, np.ascontiguousarray(vector).tobytes())

    def open(self, round_number: int, device: str, parameters: int) -> NDArray[np.float32]:
        """A read-only view `(parameters,)` float32 of a stored update, mapped, not loaded."""
        path = self._path(round_number, device)
        try:
            if path.stat().st_size != 4 * parameters:
                raise OperationError(f"{path} is damaged: not {parameters} weights")
            if parameters == 0:
                return np.empty(0, np.float32)
            return np.memmap(path, np.float32, mode="r", shape=(parameters,))
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error.strerror}") from error

    def drop_through(self, round_number: int) -> None:
        """Delete the updates of this round and of all before it."""
        if not self._directory.is_dir():
            return
        for folder in self._directory.iterdir():
            if folder.name.isdigit() and int(folder.name) <= round_number:
                shutil.rmtree(folder, ignore_errors=True)
