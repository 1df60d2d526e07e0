"""Images brought to the size that a model takes, by whole-number steps only.

Enlarging repeats every pixel (nearest neighbour) by the largest whole factor that fits and pads
the rest with zeros, centred; shrinking takes the mean of whole blocks. Both are exact, need no
image library and give the same bits on every machine. Other ratios are refused.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

__all__ = ["fit_images"]


def fit_images(
    images: NDArray[np.uint8], input_shape: tuple[int, ...] | None, dataset: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """`(n, channels, height, width)` uint8 images in `input_shape`, and notes on what was done.

    None leaves them as they are; a one-dimensional input shape of as many elements flattens them.
    ConfigurationError, naming `dataset` and both shapes, when they cannot be made to fit.
    """
    have = images.shape[1:]
    if input_shape is None or have == input_shape:
        return images, ()
    if input_shape == (math.prod(have),):
        return images.reshape(len(images), -1), (f"images {_size(have)} flattened",)
    if len(input_shape) != 3 or input_shape[0] != have[0]:
        raise _refusal(dataset, have, input_shape)
    target = input_shape[1:]
    if all(want >= got for want, got in zip(target, have[1:], strict=True)):
        return _enlarge(images, target)
    if all(got % want == 0 for want, got in zip(target, have[1:], strict=True)):
        return _shrink(images, target)
    raise _refusal(dataset, have, input_shape)


def _enlarge(
    images: NDArray[np.uint8], target: tuple[int, ...]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    height, width = images.shape[2:]
    # One factor for both axes: a digit stays as slim as it is.
    factor = min(target[0] // height, target[1] // width)
    scaled = images.repeat(factor, axis=2).repeat(factor, axis=3)
    top = (target[0] - height * factor) // 2
    left = (target[1] - width * factor) // 2
    fitted = np.zeros((*images.shape[:2], *target), np.uint8)
    fitted[:, :, top : top + height * factor, left : left + width * factor] = scaled
    steps = []
    if factor > 1:
        steps.append(f"every pixel repeated {factor} x {factor}")
    if target != (height * factor, width * factor):
        steps.append("padded with zeros")
    done = " and ".join(steps)
    return fitted, (f"images {_size((height, width))} fitted to {_size(target)}: {done}",)


def _shrink(
    images: NDArray[np.uint8], target: tuple[int, ...]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    n, channels, height, width = images.shape
    rows, columns = height // target[0], width // target[1]
    blocks = images.reshape(n, channels, target[0], rows, target[1], columns)
    size = rows * columns
    sums = blocks.sum(axis=(3, 5), dtype=np.uint32)
    fitted = ((sums + size // 2) // size).astype(np.uint8)
    note = f"images {_size((height, width))} shrunk to {_size(target)}: mean of {rows} x {columns}"
    return fitted, (f"{note} pixels",)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(extent) for extent in shape)


def _refusal(
    dataset: str, have: tuple[int, ...], input_shape: tuple[int, ...]
) -> ConfigurationError:
    return ConfigurationError(
        f"dataset {dataset}: its samples are {_size(have)}, the model takes {_size(input_shape)}, "
        "and neither a whole-number enlargement nor a whole-number reduction leads there; "
        "choose another --dataset or --model"
    )
