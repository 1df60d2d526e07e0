"""The backward of max-pooling by the indices that the forward found.

The first index in a window wins where values tie, in torch's forward and in the runtimes'. Windows
that tile the image, the usual ones, take a faster way (tiled_max_pool.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["max_pool2d_with_indices_backward"]


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
    area, points = math.prod(x.shape[-2:]), math.prod(grad.shape[-2:])
    blank = torch.zeros_like(x).reshape(-1, area)
    flat = blank.scatter_add(1, indices.reshape(-1, points), grad.reshape(-1, points))
    return flat.reshape(x.shape)
