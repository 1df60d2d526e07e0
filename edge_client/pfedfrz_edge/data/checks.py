"""Arrays checked against what a bundle's model takes, whatever source they are from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

from .labelled import LabelledData

__all__ = ["CROSS_ENTROPY", "checked", "checked_samples"]

CROSS_ENTROPY = LossSpec()


def checked(
    x: NDArray[np.generic], y: NDArray[np.generic], spec: InputSpec, loss: LossSpec, name: str
) -> LabelledData:
    """Samples and labels as the runtimes want them; there may be none.

    x is float32, or uint8 which is scaled to 0..1, or whole numbers where the model looks tokens
    up. y is what the loss wants: whole numbers from 0 below the number of classes, or numbers, or
    zeros and ones, `(samples, outputs)`; with one output `(samples,)` is as good.
    ConfigurationError begins with `name` and says what does not fit.
    """
    if x.ndim < 1 or x.shape[1:] != spec.shape:
        raise ConfigurationError(
            f"{name}: samples have shape {x.shape[1:]}, the bundle's model takes {spec.shape}"
        )
    check = _checked_classes if loss.has_classes else _checked_numbers
    labels = check(y, len(x), spec.classes, name)
    if loss.kind is LossKind.BINARY_CROSS_ENTROPY and not np.isin(labels, (0, 1)).all():
        raise ConfigurationError(f"{name}: labels hold more than 0 and 1, no and yes")
    return LabelledData(checked_samples(x, spec, name), labels)


def _checked_classes(
    y: NDArray[np.generic], samples: int, classes: int, name: str
) -> NDArray[np.int64]:
    if y.shape != (samples,):
        raise ConfigurationError(f"{name}: {samples} samples, but labels of shape {y.shape}")
    if not samples:
        return np.zeros(0, np.int64)
    if not np.issubdtype(y.dtype, np.integer):
        raise ConfigurationError(f"{name}: labels are {y.dtype}; save whole numbers")
    labels = y.astype(np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigurationError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, "
            f"the bundle's model knows 0 to {classes - 1}"
        )
    return labels


def _checked_numbers(
    y: NDArray[np.generic], samples: int, outputs: int, name: str
) -> NDArray[np.float32]:
    if outputs == 1 and y.ndim == 1:
        y = y[:, None]
    if y.shape != (samples, outputs):
        raise ConfigurationError(
            f"{name}: {samples} samples, but labels of shape {y.shape}; "
            f"the bundle's loss wants {outputs} for each, {(samples, outputs)}"
        )
    if not any(np.issubdtype(y.dtype, kind) for kind in (np.integer, np.floating, np.bool_)):
        raise ConfigurationError(f"{name}: labels are {y.dtype}; save float32")
    with np.errstate(over="ignore"):  # what leaves float32 is infinite, and told below
        labels = np.ascontiguousarray(y, dtype=np.float32)
    if not np.isfinite(labels).all():
        raise ConfigurationError(f"{name}: labels hold NaN or infinite values; remove them")
    return labels


def checked_samples(x: NDArray[np.generic], spec: InputSpec, name: str) -> NDArray[np.float32]:
    """Samples as the model takes them, scaled where they are bytes; ConfigurationError."""
    if spec.tokens is not None:
        return _checked_tokens(x, spec.tokens, name)
    if x.dtype == np.uint8:
        samples = x.astype(np.float32) / np.float32(255)
    elif x.dtype == np.float32:
        samples = np.ascontiguousarray(x, dtype=np.float32)
    else:
        raise ConfigurationError(f"{name}: samples are {x.dtype}; save float32 or uint8")
    if not np.isfinite(samples).all():
        raise ConfigurationError(f"{name}: samples hold NaN or infinite values; remove them")
    return samples


def _checked_tokens(x: NDArray[np.generic], tokens: int, name: str) -> NDArray[np.float32]:
    """A number out of range would be looked up behind the end of the model's table."""
    if not (np.issubdtype(x.dtype, np.integer) or x.dtype == np.float32):
        raise ConfigurationError(f"{name}: samples are {x.dtype}; save whole numbers")
    # Compared as they are: a large integer is not the same number as float32.
    fits = (x >= 0) & (x < tokens) & (x == np.floor(x))  # type: ignore[operator]
    if not fits.all():
        raise ConfigurationError(
            f"{name}: samples hold {x[~fits][0]}, the bundle's model looks up whole numbers "
            f"from 0 to {tokens - 1}"
        )
    return np.ascontiguousarray(x, dtype=np.float32)
