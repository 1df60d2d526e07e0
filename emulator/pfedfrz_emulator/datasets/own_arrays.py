"""One's own data in an .npz file: `npz:PATH`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_edge.array_archive import require_bounded
from pfedfrz_protocol import ConfigurationError

from .dataset import Dataset, Pixels, pixel_statistics
from .fitting import fit_images
from .stratified import stratified_rows

__all__ = ["load_own_arrays"]

_MAX_BYTES = 4 << 30
_SPLIT_SEED = 20
_TEST_SHARE = 0.2
_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_WHOLE = ("x", "y")


def load_own_arrays(path: Path, input_shape: tuple[int, ...] | None) -> Dataset:
    """The dataset in an .npz file with x_train, y_train, x_test, y_test, or with x and y alone.

    x is uint8 pixels `(n, height, width)` or `(n, channels, height, width)`, or float32 or
    float64 of any shape, which is taken as it is; y is whole numbers from 0. With x and y alone
    a fifth of every label, always the same rows, is the test set. Nothing is unpickled.
    ConfigurationError names the file and what is wrong with it.
    """
    arrays = _read(path)
    notes: tuple[str, ...] = ()
    if set(_SPLIT) <= arrays.keys():
        train_x, test_x = (_samples(path, name, arrays[name]) for name in ("x_train", "x_test"))
        train_y, test_y = (
            _labels(path, name, arrays[name], len(x))
            for name, x in (("y_train", train_x), ("y_test", test_x))
        )
    else:
        x = _samples(path, "x", arrays["x"])
        y = _labels(path, "y", arrays["y"], len(x))
        if np.bincount(y).min() < 2:
            raise ConfigurationError(f"{path}: every label needs two samples or more in y")
        test = stratified_rows(y, _TEST_SHARE, _SPLIT_SEED)
        train = np.setdiff1d(np.arange(len(y)), test)
        train_x, train_y, test_x, test_y = x[train], y[train], x[test], y[test]
        notes = (f"no test set in the file: {len(test)} of {len(y)} samples were set apart",)
    classes = _classes(path, train_y, test_y)
    if train_x.dtype != test_x.dtype or train_x.shape[1:] != test_x.shape[1:]:
        raise ConfigurationError(f"{path}: x_train and x_test differ in shape or element type")
    mean, std = 0.0, 1.0
    if train_x.dtype == np.uint8:
        mean, std = pixel_statistics(train_x.astype(np.uint8, copy=False))
    train_x, fitting = _fit(path, train_x, input_shape)
    test_x, _ = _fit(path, test_x, input_shape)
    return Dataset(
        name=f"npz:{path}",
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        classes=classes,
        source=str(path),
        mean=mean,
        std=std,
        notes=notes + fitting,
    )


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        # Opened here: numpy leaves a file that it opened itself open when the archive is damaged.
        with path.open("rb") as file:
            require_bounded(file, _MAX_BYTES)
            arrays = _wanted(path, np.load(file, allow_pickle=False))
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name!r} is no array")
        return arrays
    except ConfigurationError:
        raise
    except Exception as error:  # of damaged archives errors come that have no common base
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(f"{path}: not a readable .npz file: {reason}") from error


def _wanted(path: Path, loaded: object) -> dict[str, NDArray[np.generic]]:
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("a single array; save x and y with numpy.savez")
    names = set(loaded.files)
    wanted = _SPLIT if set(_SPLIT) <= names else _WHOLE
    missing = [name for name in wanted if name not in names]
    if missing:
        found = ", ".join(sorted(names)) or "nothing"
        raise ConfigurationError(
            f"{path}: it holds {found}; want {', '.join(_SPLIT)}, or {' and '.join(_WHOLE)}"
        )
    return {name: loaded[name] for name in wanted}


def _samples(path: Path, name: str, x: NDArray[np.generic]) -> Pixels:
    if x.ndim < 2 or 0 in x.shape:
        raise ConfigurationError(f"{path}: {name} has shape {x.shape}; want (samples, ...)")
    if x.dtype == np.uint8:
        if x.ndim not in (3, 4):
            raise ConfigurationError(
                f"{path}: {name} has shape {x.shape}; uint8 pixels are (n, height, width) or "
                "(n, channels, height, width)"
            )
        pixels = x.astype(np.uint8, copy=False)
        return pixels[:, None] if x.ndim == 3 else pixels
    if x.dtype not in (np.float32, np.float64):
        raise ConfigurationError(f"{path}: {name} is {x.dtype}; save uint8 or float32")
    with np.errstate(over="ignore"):
        features = x.astype(np.float32)
    if not np.isfinite(features).all():
        raise ConfigurationError(f"{path}: {name} holds NaN or values beyond float32; remove them")
    return features


def _labels(path: Path, name: str, y: NDArray[np.generic], samples: int) -> NDArray[np.int64]:
    if y.shape != (samples,):
        raise ConfigurationError(
            f"{path}: {name} has shape {y.shape}; want ({samples},), one label for each sample"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ConfigurationError(f"{path}: {name} is {y.dtype}; labels are whole numbers from 0")
    labels = y.astype(np.int64)
    if labels.min() < 0 or labels.max() >= samples:
        raise ConfigurationError(
            f"{path}: {name} runs from {labels.min()} to {labels.max()}; labels count from 0 "
            "without gaps"
        )
    return labels


def _classes(path: Path, train_y: NDArray[np.int64], test_y: NDArray[np.int64]) -> int:
    counts = np.bincount(train_y)
    gaps = np.flatnonzero(counts == 0)
    if len(gaps):
        raise ConfigurationError(
            f"{path}: no training sample has label {gaps[0]}; labels count from 0 without gaps"
        )
    if len(counts) < 2:
        raise ConfigurationError(f"{path}: all training samples have one label; want two or more")
    if test_y.max() >= len(counts):
        raise ConfigurationError(
            f"{path}: test label {test_y.max()} has no training sample; labels go to "
            f"{len(counts) - 1}"
        )
    return len(counts)


def _fit(
    path: Path, x: Pixels, input_shape: tuple[int, ...] | None
) -> tuple[Pixels, tuple[str, ...]]:
    if x.dtype == np.uint8:
        return fit_images(x.astype(np.uint8, copy=False), input_shape, f"npz:{path}")
    if input_shape is None or x.shape[1:] == input_shape:
        return x, ()
    if (1, *x.shape[1:]) == input_shape:
        return x[:, None], ()
    raise ConfigurationError(
        f"dataset npz:{path}: its samples have shape {x.shape[1:]}, the model takes {input_shape}; "
        "float features are not resized"
    )
