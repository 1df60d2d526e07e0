"""Accepted updates on disk, until the round that they are for is closed.

An update is acknowledged only when it is here, so that a killed coordinator loses none; and
aggregation reads them some columns at a time in a fixed order, so that neither memory nor open
files grow with the number of devices, and the order of arrival cannot change a bit of the result.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import OperationError, add_halves
from pfedfrz_storage import make_directory, put_in_place, write_beside

__all__ = ["StoredUpdates", "UpdateStore"]

_ITEM_BYTES = {".float16": 2, ".float32": 4}
"""By the ending of a file: differences to the round's model, and whole weights."""
_DROPPED = ".dropped"


@dataclass(frozen=True, eq=False)
class StoredUpdates:
    """Some devices' updates of one round, as rows to aggregate."""

    paths: tuple[Path, ...]
    parameters: int
    base: NDArray[np.float32] | None = None
    """`(parameters,)`: the model that the differences are to."""

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self.paths)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """The columns `start` to `stop` of all updates, `(clients, stop - start)` float32."""
        block = np.empty((len(self.paths), stop - start), np.float32)
        for client, row in enumerate(block):
            self._read(client, start, row)
        return block

    def row(self, client: int, start: int, stop: int) -> NDArray[np.float32]:
        """The columns of one update, `(stop - start,)` float32."""
        row = np.empty(stop - start, np.float32)
        self._read(client, start, row)
        return row

    def difference(self, client: int) -> NDArray[np.float16]:
        """One update as its difference to the model, `(parameters,)` float16.

        OperationError when it is not kept as one, or cannot be read.
        """
        path = self.paths[client]
        if path.suffix != ".float16":
            raise OperationError(f"{path} holds whole weights, and an exact mean adds differences")
        return self.as_kept(client, 0, self.parameters).astype(np.float16, copy=False)

    def as_kept(self, client: int, start: int, stop: int) -> NDArray[np.floating]:
        """The columns of one update as they are kept, `(stop - start,)`: float16 differences to the
        model, or float32 weights. OperationError when they cannot be read.
        """
        path = self.paths[client]
        place, count = start * _ITEM_BYTES[path.suffix], stop - start
        numbers: NDArray[np.floating]
        try:
            if path.suffix == ".float32":
                numbers = np.fromfile(path, np.float32, count=count, offset=place)
            else:
                numbers = np.fromfile(path, np.float16, count=count, offset=place)
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error}") from error
        if len(numbers) != stop - start:
            raise OperationError(f"{path} is damaged: not {self.parameters} numbers")
        return numbers

    def _read(self, client: int, start: int, row: NDArray[np.float32]) -> None:
        path = self.paths[client]
        dtype: type[np.uint16 | np.float32] = np.uint16
        if path.suffix == ".float32":
            dtype = np.float32
        place = start * _ITEM_BYTES[path.suffix]
        try:
            numbers = np.fromfile(path, dtype, count=len(row), offset=place)
            if dtype is np.float32:
                row[:] = numbers
            elif self.base is None:
                raise OperationError(f"{path} holds differences, and the model is not given")
            else:
                add_halves(self.base[start : start + len(row)], numbers.view(np.uint16), row)
        except (OSError, ValueError) as error:
            raise OperationError(f"cannot read {path}: {error}") from error


class UpdateStore:
    """One folder a round, one file a device: its weights as they came, `(parameters,)`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _folder(self, round_number: int) -> Path:
        return self._directory / f"{round_number:09d}"

    def _path(self, round_number: int, device: str, ending: str) -> Path:
        return self._folder(round_number) / f"{device}{ending}"

    def _find(self, round_number: int, device: str, parameters: int) -> Path | None:
        for ending, size in _ITEM_BYTES.items():
            path = self._path(round_number, device, ending)
            try:
                if path.stat().st_size == size * parameters:
                    return path
            except OSError:
                continue
        return None

    def put(self, round_number: int, device: str, numbers: NDArray[np.floating]) -> None:
        """Keep an update durably: float32 weights or float16 differences."""
        self.prepare(round_number)
        self.adopt(round_number, {device: self.write_aside(round_number, device, numbers)})

    def prepare(self, round_number: int) -> None:
        """Make the folder of a round."""
        make_directory(self._folder(round_number))

    def write_aside(self, round_number: int, device: str, numbers: NDArray[np.floating]) -> Path:
        """Write an update, flushed, beside its place; where it is.

        It counts for nothing before it is adopted. May be called from any thread.
        """
        path = self._path(round_number, device, f".{numbers.dtype.name}")
        return write_beside(path, np.ascontiguousarray(numbers).view(np.uint8).data)

    def adopt(self, round_number: int, written: Mapping[str, Path]) -> None:
        """Put what was written aside in its place, for several devices with one flush."""
        targets = dict[Path, Path]()
        for device, partial in written.items():
            for ending in _ITEM_BYTES:
                path = self._path(round_number, device, ending)
                if partial.name.startswith(f"{path.name}."):
                    targets[partial] = path
                else:  # what a crash may have left of another form of the same update
                    path.unlink(missing_ok=True)
        put_in_place(targets)

    @staticmethod
    def discard(written: Path | None) -> None:
        """Let go of what was written aside and is not wanted any more."""
        if written is not None:
            written.unlink(missing_ok=True)

    def holds(
        self, round_number: int, device: str, parameters: int, *, as_difference: bool = False
    ) -> bool:
        """Whether the device's update is here and whole, and as a difference if it must be one."""
        path = self._find(round_number, device, parameters)
        return path is not None and (path.suffix == ".float16" or not as_difference)

    def open(
        self,
        round_number: int,
        devices: Sequence[str],
        parameters: int,
        base: NDArray[np.float32] | None = None,
    ) -> StoredUpdates:
        """The updates of these devices; OperationError when one is missing or damaged.

        `base` `(parameters,)` is the model of the round, which differences are added to.
        """
        paths = list[Path]()
        for device in devices:
            path = self._find(round_number, device, parameters)
            if path is None:
                place = self._folder(round_number) / device
                raise OperationError(f"{place} is missing or damaged: not {parameters} weights")
            paths.append(path)
        return StoredUpdates(tuple(paths), parameters, base)

    def drop_through(self, round_number: int) -> None:
        """Delete the updates of this round and of all before it.

        They are out of the way at once; to give the disk back takes a while for thousands of files
        and is done beside the caller. What a kill leaves of it goes the next time.
        """
        if not self._directory.is_dir():
            return
        for folder in self._directory.iterdir():
            if folder.name.isdigit() and int(folder.name) <= round_number:
                with contextlib.suppress(OSError):
                    folder = folder.rename(folder.with_name(f"{folder.name}{_DROPPED}"))
            if folder.name.endswith(_DROPPED):
                threading.Thread(
                    target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}
                ).start()
