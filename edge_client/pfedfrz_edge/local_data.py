"""The data of one device: what it trains on and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

from .array_archive import require_bounded
from .runtimes import Labels
from .runtimes.machine_memory import memory_of_machine

__all__ = ["LabelledData", "LocalData", "load_labelled"]

CROSS_ENTROPY = LossSpec()


@dataclass(frozen=True)
class LabelledData:
    """x float32 `(samples, *shape)`; y int64 `(samples,)`, or float32 `(samples, outputs)` where
    the bundle's loss wants numbers (see LossSpec).
    """

    x: NDArray[np.float32]
    y: Labels

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
        """q_k: the share of label k among the training samples, `(classes,)` float64.

        Only where labels are classes.
        """
        counts = np.bincount(self.train.y, minlength=self.classes)
        return counts / max(1, len(self.train))


def load_labelled(path: Path, spec: InputSpec, loss: LossSpec = CROSS_ENTROPY) -> LabelledData:
    """The samples in an .npz file with arrays `x` and `y`, checked against the model's input.

    x is float32, or uint8 which is scaled to 0..1, or whole numbers where the model looks tokens
    up. y is what the loss wants: whole numbers from 0 below the number of classes, or numbers, or
    zeros and ones, `(samples, outputs)`; with one output `(samples,)` is as good.
    ConfigurationError names the file and what does not fit.
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
    return _checked(x, y, spec, loss, path)


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


def _checked(
    x: NDArray[np.generic], y: NDArray[np.generic], spec: InputSpec, loss: LossSpec, path: Path
) -> LabelledData:
    if x.ndim < 1 or x.shape[1:] != spec.shape:
        raise ConfigurationError(
            f"{path}: samples have shape {x.shape[1:]}, the bundle's model takes {spec.shape}"
        )
    check = _checked_classes if loss.has_classes else _checked_numbers
    labels = check(y, len(x), spec.classes, path)
    if loss.kind is LossKind.BINARY_CROSS_ENTROPY and not np.isin(labels, (0, 1)).all():
        raise ConfigurationError(f"{path}: labels hold more than 0 and 1, no and yes")
    return LabelledData(_checked_samples(x, spec, path), labels)


def _checked_classes(
    y: NDArray[np.generic], samples: int, classes: int, path: Path
) -> NDArray[np.int64]:
    if y.shape != (samples,) or not samples:
        raise ConfigurationError(f"{path}: {samples} samples, but labels of shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise ConfigurationError(f"{path}: labels are {y.dtype}; save whole numbers")
    labels = y.astype(np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigurationError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, "
            f"the bundle's model knows 0 to {classes - 1}"
        )
    return labels


def _checked_numbers(
    y: NDArray[np.generic], samples: int, outputs: int, path: Path
) -> NDArray[np.float32]:
    if outputs == 1 and y.ndim == 1:
        y = y[:, None]
    if y.shape != (samples, outputs) or not samples:
        raise ConfigurationError(
            f"{path}: {samples} samples, but labels of shape {y.shape}; "
            f"the bundle's loss wants {outputs} for each, {(samples, outputs)}"
        )
    if not any(np.issubdtype(y.dtype, kind) for kind in (np.integer, np.floating, np.bool_)):
        raise ConfigurationError(f"{path}: labels are {y.dtype}; save float32")
    with np.errstate(over="ignore"):  # what leaves float32 is infinite, and told below
        labels = np.ascontiguousarray(y, dtype=np.float32)
    if not np.isfinite(labels).all():
        raise ConfigurationError(f"{path}: labels hold NaN or infinite values; remove them")
    return labels


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
