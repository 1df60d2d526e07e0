"""A dataset's model inputs as one file that all processes map: no client holds a copy."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets import Dataset, load_dataset

__all__ = ["MappedDataset", "map_dataset"]

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class MappedDataset:
    """A dataset whose inputs are mapped: float32 `(n, *sample_shape)`, read-only."""

    dataset: Dataset
    train_x: NDArray[np.float32]
    test_x: NDArray[np.float32]


@lru_cache(maxsize=4)
def map_dataset(
    name: str, input_shape: tuple[int, ...], folder: Path, cache_dir: Path | None = None
) -> MappedDataset:
    """The named dataset, fitted to `input_shape`, with its inputs in files below `folder`.

    The first process that asks writes them, whole or not at all. Raises ConfigurationError when
    the dataset cannot be had.
    """
    dataset = load_dataset(name, input_shape=input_shape, cache_dir=cache_dir)
    arrays = []
    for part, samples in (("train", dataset.train_x), ("test", dataset.test_x)):
        path = folder / f"{dataset.name.replace('/', '_')}-{part}-{_key(dataset, samples)}.npy"
        if not path.exists():
            _write(path, dataset, samples)
        arrays.append(np.load(path, mmap_mode="r"))
    return MappedDataset(dataset, *arrays)


def _key(dataset: Dataset, samples: NDArray[np.generic]) -> str:
    """What the inputs follow from: a file of one's own may have changed under the same name."""
    form = f"{dataset.sample_shape}/{dataset.normalisation}/{samples.dtype.str}/{samples.shape}"
    digest = hashlib.sha256(form.encode())
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()[:12]


def _write(path: Path, dataset: Dataset, samples: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        target = np.lib.format.open_memmap(
            unfinished, mode="w+", dtype=np.float32, shape=samples.shape
        )
        for start in range(0, len(samples), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            target[rows] = dataset.inputs(samples[rows])  # type: ignore[arg-type]
        target.flush()
        del target
        # Another process may have been as quick: both wrote the same.
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
