"""The data of one device: what it trains on and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec

__all__ = ["LabelledData", "LocalData", "load_labelled"]


@dataclass(frozen=True)
class LabelledData:
    """x float32 `(samples, *shape)`, y int64 `(samples,)`."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class LocalData:
    """Training samples and, where there are any, test samples."""

    train: LabelledData
    test: LabelledData | None
    classes: int

    @property
    def label_shares(self) -> NDArray[np.float64]:
        """q_k: the share of label k among the training samples, `(classes,)` float64."""
        counts = np.bincount(self.train.y, minlength=self.classes)
        return counts / max(1, len(self.train))


def load_labelled(path: Path, spec: InputSpec) -> LabelledData:
    """The samples in an .npz file with arrays `x` and `y`, checked against the model's input.

    x is float32, or uint8 which is scaled to 0..1; y holds whole numbers from 0 below the number
    of classes. ConfigurationError names the file and what does not fit.
    """
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
    x, y = arrays["x"], arrays["y"]
    return _checked(x, y, spec, path)


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    # Opened here: numpy leaves a file that it opened itself open when the archive is damaged.
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array; save x and y with numpy.savez")
        with archive:
            arrays = {name: archive[name] for name in {"x", "y"} & set(archive.files)}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name!r} is no array")
    return arrays


def _checked(
    x: NDArray[np.generic], y: NDArray[np.generic], spec: InputSpec, path: Path
) -> LabelledData:
    if x.ndim < 1 or x.shape[1:] != spec.shape:
        raise ConfigurationError(
            f"{path}: samples have shape {x.shape[1:]}, the bundle's model takes {spec.shape}"
        )
    if y.shape != x.shape[:1] or not len(y):
        raise ConfigurationError(f"{path}: {len(x)} samples, but labels of shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise ConfigurationError(f"{path}: labels are {y.dtype}; save whole numbers")
    labels = y.astype(np.int64)
    if labels.min() < 0 or labels.max() >= spec.classes:
        raise ConfigurationError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, "
            f"the bundle's model knows 0 to {spec.classes - 1}"
        )
    return LabelledData(_checked_samples(x, spec, path), labels)


def _checked_samples(x: NDArray[np.generic], spec: InputSpec, path: Path) -> NDArray[np.float32]:
    if spec.tokens is not None:
        return _checked_tokens(x, spec.tokens, path)
    if x.dtype == np.uint8:
        samples = x.astype(np.float32) / np.float32(255)
    elif x.dtype == np.float32:
        samples = np.ascontiguousarray(x, dtype=np.float32)
    else:
        raise ConfigurationError(f"{path}: samples are {x.dtype}; save float32 or uint8")
    if not np.isfinite(samples).all():
        raise ConfigurationError(f"{path}: samples hold NaN or infinite values; remove them")
    return samples


def _checked_tokens(x: NDArray[np.generic], tokens: int, path: Path) -> NDArray[np.float32]:
    """A number out of range would be looked up behind the end of the model's table."""
    if not (np.issubdtype(x.dtype, np.integer) or x.dtype == np.float32):
        raise ConfigurationError(f"{path}: samples are {x.dtype}; save whole numbers")
    # Compared as they are: a large integer is not the same number as float32.
    fits = (x >= 0) & (x < tokens) & (x == np.floor(x))  # type: ignore[operator]
    if not fits.all():
        raise ConfigurationError(
            f"{path}: samples hold {x[~fits][0]}, the bundle's model looks up whole numbers "
            f"from 0 to {tokens - 1}"
        )
    return np.ascontiguousarray(x, dtype=np.float32)
