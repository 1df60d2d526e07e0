"""The backward of max-pooling, with torch's rule for ties: the first index in a window wins.

Windows that tile the image (the usual pool) are undone one axis at a time, with comparisons and
copies alone. The first maximum in row-major order lies in the first row that holds the maximum,
and there in the first column that does; so pooling along the rows first and then across them, each
time giving the gradient to the first that equals the maximum, is the same rule. It needs no
indices, and a runtime's pool without them is several times faster.

All other windows (overlapping, padded, dilated) scatter the gradient to the indices that the
forward pass found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["max_pool2d_with_indices_backward"]

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
    """The gradient by the pool's input, of `x.shape`."""
    kernel = _pair(kernel_size)
    tiles = (
        _pair(stride or kernel) == kernel
        and not any(padding)
        and _pair(dilation) == [1, 1]
        and all(
            extent == points * k
            for extent, points, k in zip(x.shape[-2:], grad.shape[-2:], kernel, strict=True)
        )
    )
    return _untile(grad, x, kernel) if tiles else _scatter(grad, x, indices)


def _untile(grad: Tensor, x: Tensor, kernel: list[int]) -> Tensor:
    height, width = kernel
    across = grad.shape[-1]
    # Columns of a window, each over all windows of the image: (width, everything else).
    columns = x.reshape(-1, width).t().unbind(0)
    row_maximum = _maximum(columns)
    rows = row_maximum.reshape(-1, height, across).unbind(1)
    by_row = _first_takes(grad.reshape(-1, across), rows, _maximum(rows))
    row_grad = torch.stack(by_row, 1).reshape(-1)
    by_column = _first_takes(row_grad, columns, row_maximum)
    return torch.stack(by_column, 0).t().reshape(x.shape)


def _maximum(parts: Sequence[Tensor]) -> Tensor:
    largest = parts[0]
    for part in parts[1:]:
        largest = torch.maximum(largest, part)
    return largest


def _first_takes(grad: Tensor, parts: Sequence[Tensor], maximum: Tensor) -> list[Tensor]:
    """Per part the gradient where it is the first that equals the maximum, else zero."""
    nothing = torch.zeros((), dtype=grad.dtype)
    taken = []
    for part in parts[:-1]:
        take = torch.where(part == maximum, grad, nothing)
        grad = grad - take  # exactly the gradient or exactly zero
        taken.append(take)
    return [*taken, grad]


def _scatter(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    area = math.prod(x.shape[-2:])
    blank = torch.zeros_like(x).reshape(-1, area)
    points = math.prod(grad.shape[-2:])
    flat = blank.scatter_add(1, indices.reshape(-1, points), grad.reshape(-1, points))
    return flat.reshape(x.shape)


def _pair(values: Sequence[int]) -> list[int]:
    return list(values) * 2 if len(values) == 1 else list(values)
