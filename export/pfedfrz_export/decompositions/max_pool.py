"""The backward of max-pooling by the indices that the forward found.

The first index in a window wins where values tie, in torch's forward and in the runtimes'. Windows
that tile the image, the usual ones, take a faster way (tiled_max_pool.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "max_pool2d_with_indices_backward",
]

aten = torch.ops.aten


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
    """The gradient by the pool's input, of `x.shape`: every gradient added at its index."""
    return _add_at(grad, x, indices)


def adaptive_max_pool2d(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The plain pool with indices that an adaptive pool is where its windows are of one size."""
    extents = list(x.shape[-2:])
    if any(extent % points for extent, points in zip(extents, output_size, strict=True)):
        return NotImplemented  # type: ignore[no-any-return]
    kernel = [extent // points for extent, points in zip(extents, output_size, strict=True)]
    pooled: tuple[Tensor, Tensor] = aten.max_pool2d_with_indices.default(x, kernel, kernel)
    return pooled


def adaptive_max_pool2d_backward(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """The gradient by the adaptive pool's input, of `x.shape`."""
    return _add_at(grad, x, indices)


def _add_at(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    area, points = math.prod(x.shape[-2:]), math.prod(grad.shape[-2:])
    blank = torch.zeros_like(x).reshape(-1, area)
    flat = blank.scatter_add(1, indices.reshape(-1, points), grad.reshape(-1, points))
    return flat.reshape(x.shape)
