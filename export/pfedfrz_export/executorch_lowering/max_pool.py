"""Max-pools of any window, forward and backward, by the values that each tap reads.

The first tap of a window that holds its maximum gets the gradient, in row-major order as in torch.
The kernel that ExecuTorch has for this backward does not clear its output first and is never used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .gathering import channels_first, channels_last, constant, gather
from .steps import positive
from .windows import OUTSIDE, WindowGrid

__all__ = ["max_pool2d_with_indices", "max_pool2d_with_indices_backward"]

_LOWEST = torch.finfo(torch.float32).min


def max_pool2d_with_indices(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maxima and where they are in the image; the latter costs nothing if it is not used."""
    image = x if x.dim() == 4 else x.unsqueeze(0)
    grid = _grid(image, kernel_size, stride, padding, dilation, ceil_mode)
    table = grid.pixels()
    taps = _taps(channels_last(image), table)
    maximum = channels_first(_maximum(taps), grid.points)
    indices = channels_first(_positions(taps, table), grid.points)
    return maximum.reshape(*x.shape[:-2], *grid.points), indices.reshape(
        *x.shape[:-2], *grid.points
    )


def max_pool2d_with_indices_backward(
    grad: Tensor,
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """The gradient by the pool's input, of `x.shape`."""
    image = x if x.dim() == 4 else x.unsqueeze(0)
    grid = _grid(image, kernel_size, stride, padding, dilation, ceil_mode)
    table = grid.pixels()
    # The same operations as in the forward, which the graph then shares.
    taps = _taps(channels_last(image), table)
    maximum = _maximum(taps)
    left = channels_last(grad.reshape(*image.shape[:2], *grid.points))
    taken = []
    for tap in taps[:-1]:
        passed = left * positive(maximum - tap)  # exactly the gradient or exactly zero
        taken.append(left - passed)
        left = passed
    parts = torch.cat([*taken, left], 1)
    by_pixel = _inverse(table, image.shape[2] * image.shape[3])
    total = gather(parts, by_pixel[:, 0])
    for column in by_pixel.T[1:]:
        total = total + gather(parts, column)
    return channels_first(total, grid.extents).reshape(x.shape)


def _taps(pixels: Tensor, table: NDArray[np.int64]) -> list[Tensor]:
    """Per tap what the windows see, `(samples, windows, channels)`."""
    return [gather(pixels, column, _LOWEST) for column in table.T]


def _maximum(parts: Sequence[Tensor]) -> Tensor:
    largest = parts[0]
    for part in parts[1:]:
        largest = torch.maximum(largest, part)
    return largest


def _positions(taps: Sequence[Tensor], table: NDArray[np.int64]) -> Tensor:
    """`(samples, windows, channels) int64`: the pixel of the first maximum."""
    best = torch.stack(list(taps), 2).argmax(2)
    pixels = constant(table).long().unsqueeze(0).expand(best.shape[0], -1, -1)
    return pixels.gather(2, best)


def _inverse(table: NDArray[np.int64], pixels: int) -> NDArray[np.int64]:
    """`(pixels, most)`: where each pixel stands in the columns of the table, one after another."""
    flat = table.T.reshape(-1)
    places = np.argsort(flat, kind="stable")[np.count_nonzero(flat == OUTSIDE) :]
    pixel = flat[places]
    counts = np.bincount(pixel, minlength=pixels)
    rank = np.arange(len(pixel)) - (np.cumsum(counts) - counts)[pixel]
    inverse = np.full((pixels, max(1, int(counts.max()))), OUTSIDE)
    inverse[pixel, rank] = places
    return inverse


def _grid(
    image: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> WindowGrid:
    kernel, pads, gaps = _pair(kernel_size), _pair(padding), _pair(dilation)
    steps = _pair(stride or kernel)
    points = []
    for extent, k, s, p, d in zip(image.shape[-2:], kernel, steps, pads, gaps, strict=True):
        room = extent + 2 * p - d * (k - 1) - 1
        count = (room + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= extent + p:
            count -= 1  # a window must start inside the image or its left padding
        points.append(count)
    return WindowGrid.of(image.shape[-2:], points, kernel, steps, pads, gaps)


def _pair(values: Sequence[int]) -> list[int]:
    return list(values) * 2 if len(values) == 1 else list(values)
