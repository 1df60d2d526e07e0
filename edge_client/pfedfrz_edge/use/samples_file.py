"""Samples without labels, as a person has them in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec

from ..array_archive import require_bounded
from ..data.checks import checked_samples
from ..runtimes.machine_memory import memory_of_machine

__all__ = ["load_samples"]


def load_samples(path: Path, spec: InputSpec) -> NDArray[np.float32]:
    """The samples of a .npz file with an array `x`, or of a .npy file, `(samples, *shape)`.

    One sample without the first axis is taken as one. ConfigurationError names the file and what
    does not fit.
    """
    try:
        x = _read(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # numpy, zipfile and zlib have no common base for what they raise of damaged files.
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(f"{path}: not a readable .npz or .npy file: {line}") from error
    if x.shape == spec.shape:
        x = x[None]
    if x.ndim < 1 or x.shape[1:] != spec.shape or not len(x):
        raise ConfigurationError(
            f"{path}: an array of shape {x.shape}; the bundle's model takes samples of shape "
            f"{spec.shape}, one or more of them"
        )
    return checked_samples(x, spec, str(path))


def _read(path: Path) -> NDArray[np.generic]:
    with path.open("rb") as file:
        is_array = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        file.seek(0)
        if is_array:
            # Mapped: a header that claims more than the file holds is an error, and no memory.
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        require_bounded(file, memory_of_machine())
        archive = np.load(file, allow_pickle=False)
        with archive:
            if "x" not in archive.files:
                raise ValueError("no array 'x'; save it with numpy.savez(file, x=...)")
            x: NDArray[np.generic] = archive["x"]
    if not isinstance(x, np.ndarray):
        raise ValueError("'x' is no array")
    return x
