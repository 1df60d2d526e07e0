"""The data of one device: what it trains on and what it is measured on."""

from __future__ import annotations

import zipfile
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
        with np.load(path, allow_pickle=False) as archive:
            missing = {"x", "y"} - set(archive.files)
            if missing:
                raise ConfigurationError(
                    f"{path}: no array {sorted(missing)[0]!r}; save x and y with numpy.savez"
                )
            x, y = archive["x"], archive["y"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ConfigurationError(f"{path}: not a readable .npz file: {error}") from error
    return _checked(x, y, spec, path)


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
    if x.dtype == np.uint8:
        samples = x.astype(np.float32) / np.float32(255)
    elif x.dtype == np.float32:
        samples = np.ascontiguousarray(x, dtype=np.float32)
    else:
        raise ConfigurationError(f"{path}: samples are {x.dtype}; save float32 or uint8")
    if not np.isfinite(samples).all():
        raise ConfigurationError(f"{path}: samples hold NaN or infinite values; remove them")
    return LabelledData(samples, labels)
