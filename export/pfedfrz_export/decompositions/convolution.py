"""The backward of a convolution in operators that a forward graph has.

With `y = conv(x, w)`, `g = dL/dy`:

- `dL/dx` is the transposed convolution of `g` with `w`;
- `dL/dw[o, c, k] = sum over samples n and positions p of g[n, o, p] * x[n, c, p * stride + k *
  dilation - padding]`, a matrix product of the columns of `x` (im2col) with `g`;
- `dL/db[o] = sum over n, p of g[n, o, p]`.

The columns are gathered with the samples in the last axis, so that one index moves a whole batch:
measured twice as fast on onnxruntime as the other form in use, the convolution of the transposed
`x` with the transposed `g`, which spends its time in short rows. The index depends on the image
alone, so the batch stays free. Columns are gathered for some kernel rows at a time, which bounds
the memory they take.

A transposed convolution is the same with `x` and `g` in each other's place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["convolution_backward"]

aten = torch.ops.aten

NOMINAL_BATCH = 32
COLUMNS_BUDGET = 1 << 20  # elements, 4 MiB: what one gather may take at the nominal batch


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a convolution by its input, weight and bias, those that the mask asks for."""
    kernel = list(weight.shape[2:])
    stride, padding, dilation = (_spread(v, len(kernel)) for v in (stride, padding, dilation))
    by_input = by_weight = by_bias = None
    if output_mask[0]:
        by_input = _by_input(grad, x, weight, stride, padding, dilation, transposed, groups)
    if output_mask[1]:
        image, grid = (grad, x) if transposed else (x, grad)
        by_weight = _by_weight(image, grid, kernel, stride, padding, dilation, groups)
    if output_mask[2]:
        # The same matrix as in the weight's gradient; its rows are summed without a stride.
        by_bias = _samples_last(grad).sum(1)
    return by_input, by_weight, by_bias


def _by_input(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    groups: int,
) -> Tensor:
    """The image that the gradient paints with the kernel at every position, `x.shape`."""
    if transposed:
        unreached = [0] * len(stride)
    else:
        # The rows of x that the last window of a strided convolution does not reach.
        unreached = [
            extent - ((points - 1) * s - 2 * p + d * (k - 1) + 1)
            for extent, points, s, p, d, k in zip(
                x.shape[2:],
                grad.shape[2:],
                stride,
                padding,
                dilation,
                weight.shape[2:],
                strict=True,
            )
        ]
    image: Tensor = aten.convolution.default(
        grad, weight, None, stride, padding, dilation, not transposed, unreached, groups
    )
    return image


def _by_weight(
    image: Tensor,
    grid: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """`(grid channels, image channels / groups, *kernel)`: image patches against grid points."""
    channels, rows = image.shape[1] // groups, grid.shape[1] // groups
    moved = image.permute(1, *range(2, image.dim()), 0)
    if any(padding):  # after the move, when a padded row is one piece of memory
        around = [p for q in reversed(padding) for p in (q, q)]
        moved = aten.constant_pad_nd.default(moved, [0, 0, *around])
    extents, points = list(moved.shape[1:-1]), list(grid.shape[2:])
    pixels = moved.reshape(image.shape[1], math.prod(extents), image.shape[0])
    right = _samples_last(grid)
    parts = []
    for first, last in _kernel_rows(kernel, points, image.shape[1]):
        chunk = [last - first, *kernel[1:]]
        taps = [torch.arange(first, last), *(torch.arange(k) for k in kernel[1:])]
        index = _positions(taps, extents, points, stride, dilation)
        columns = pixels.index_select(1, index)
        if groups == 1:
            product = columns.reshape(channels * math.prod(chunk), -1) @ right.t()
        else:
            product = torch.bmm(
                columns.reshape(groups, channels * math.prod(chunk), -1),
                right.reshape(groups, rows, -1).transpose(1, 2),
            )
        parts.append(product.reshape(groups, channels, *chunk, rows))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    by_row = whole.permute(0, whole.dim() - 1, *range(1, whole.dim() - 1))
    return by_row.reshape(groups * rows, channels, *kernel)


def _samples_last(tensor: Tensor) -> Tensor:
    """`(channels, positions * samples)` of `(samples, channels, *positions)`."""
    moved = tensor.permute(1, *range(2, tensor.dim()), 0)
    return moved.reshape(tensor.shape[1], -1)


def _positions(
    taps: list[Tensor],
    extents: list[int],
    points: list[int],
    stride: list[int],
    dilation: list[int],
) -> Tensor:
    """Flat pixel of every kernel tap (outer) at every grid point (inner), `(taps * points,)`."""
    rank = len(taps)
    index = torch.zeros([1] * (2 * rank), dtype=torch.int64)
    for axis in range(rank):
        tap = (taps[axis] * dilation[axis]).reshape([-1 if a == axis else 1 for a in range(rank)])
        point = (torch.arange(points[axis]) * stride[axis]).reshape(
            [-1 if a == axis else 1 for a in range(rank)]
        )
        along = tap.reshape(*tap.shape, *[1] * rank) + point.reshape(*[1] * rank, *point.shape)
        index = index + along * math.prod(extents[axis + 1 :])
    return index.reshape(-1)


def _kernel_rows(kernel: list[int], points: list[int], channels: int) -> list[tuple[int, int]]:
    """Ranges of kernel rows whose columns stay within the budget, at least a row each."""
    row = channels * math.prod(kernel[1:]) * math.prod(points) * NOMINAL_BATCH
    step = max(1, COLUMNS_BUDGET // row)
    return [(first, min(first + step, kernel[0])) for first in range(0, kernel[0], step)]


def _spread(values: Sequence[int], rank: int) -> list[int]:
    return list(values) * rank if len(values) == 1 else list(values)
