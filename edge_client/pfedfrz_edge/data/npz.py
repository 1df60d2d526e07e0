"""Samples in an .npz file with arrays `x` and `y`: `npz:PATH`, or the path alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossSpec

from ..array_archive import require_bounded
from ..runtimes.machine_memory import memory_of_machine
from .checks import CROSS_ENTROPY, checked
from .file_state import FileState, state_of
from .labelled import LabelledData
from .source import Reading, StillWritten, hash_of_rows, most_samples

__all__ = ["NpzFile", "load_labelled"]


class NpzFile:
    """One file, read anew whenever it was written."""

    def __init__(
        self,
        path: Path,
        spec: InputSpec,
        loss: LossSpec,
        max_samples: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = str(path)
        self._path = path
        self._spec = spec
        self._loss = loss
        # An archive is bounded by what it unpacks to, so only a wish cuts it short.
        self._most = most_samples(spec, max_samples) if max_samples else None
        self._clock = clock

    def signature(self) -> FileState:
        """The file's size and when it was written."""
        return state_of(self._path)

    def read(self) -> Reading:
        """All samples, or the last of them (see Source)."""
        before = state_of(self._path)
        try:
            data = _load(self._path, self._spec, self._loss)
        except ConfigurationError as error:
            if before.is_fresh(self._clock()):
                raise StillWritten(str(error)) from error
            raise
        if self._most is not None and len(data) > self._most:
            # Copied, or the whole arrays would stay in memory behind their ends.
            data = LabelledData(data.x[-self._most :].copy(), data.y[-self._most :].copy())
        return Reading(data, lambda: hash_of_rows(data.x), state_of(self._path) == before)


def load_labelled(path: Path, spec: InputSpec, loss: LossSpec = CROSS_ENTROPY) -> LabelledData:
    """The samples in an .npz file, checked against the model's input (see `checked`).

    ConfigurationError names the file and what does not fit; a file without samples is one.
    """
    data = _load(path, spec, loss)
    if not len(data):
        raise ConfigurationError(f"{path}: 0 samples, nothing to train on")
    return data


def _load(path: Path, spec: InputSpec, loss: LossSpec) -> LabelledData:
    try:
        arrays = _read(path)
    except Exception as error:
        # Out of damaged archives numpy, zipfile, zlib and tokenize let errors without a common
        # base; whichever it is, the file is not one that can be trained on.
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"{path}: not a readable .npz file: {line}") from error
    for name in ("x", "y"):
        if name not in arrays:
            raise ConfigurationError(f"{path}: no array {name!r}; save x and y with numpy.savez")
    return checked(arrays["x"], arrays["y"], spec, loss, str(path))


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    # Opened here: numpy leaves a file that it opened itself open when the archive is damaged.
    with path.open("rb") as file:
        require_bounded(file, memory_of_machine())
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array; save x and y with numpy.savez")
        with archive:
            arrays = {name: archive[name] for name in {"x", "y"} & set(archive.files)}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name!r} is no array")
    return arrays
