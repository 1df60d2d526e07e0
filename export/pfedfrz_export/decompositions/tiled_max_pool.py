"""Max-pooling by windows that tile the image, forward and backward, one axis at a time.

The usual pool takes windows that neither overlap nor leave anything out. It can be done and undone
with comparisons and copies alone: the maximum of each window's row, then the maximum of these. The
first maximum of a window in row-major order, the one that gets the gradient in torch, lies in the
first row that holds the maximum, and there in the first column that does; so giving the gradient
to the first that equals the maximum, rows first and then columns, is the same rule.

No indices are needed, with which a runtime's pool is several times slower, and the backward works
on what the forward has computed. Where no gradient is asked for, the pool stays the operator that
it is. All other windows go by indices (max_pool.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["TiledMaxPools"]

Extents = int | list[int] | tuple[int, ...]


class TiledMaxPools(TorchFunctionMode):
    """While this is open, pools that tile their image and will be differentiated go by axis."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The result of `func`, which is torch's own for everything but such a pool."""
        named = kwargs or {}
        # Which of the two is seen depends on how the pool is called and by whom.
        if func is torch.max_pool2d or func is functional.max_pool2d:
            kernel = _tiling_kernel(*args, **named)
            x = args[0] if args else named["input"]
            if kernel is not None and x.requires_grad:
                return _TiledMaxPool.apply(x, *kernel)  # type: ignore[no-untyped-call]
        return func(*args, **named)


def _tiling_kernel(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> list[int] | None:
    """The kernel of a pool, whose arguments these are, if its windows tile the image."""
    kernel = _pair(kernel_size)
    tiles = (
        not return_indices
        and _pair(stride or kernel) == kernel
        and _pair(padding) == [0, 0]
        and _pair(dilation) == [1, 1]
        and all(extent % k == 0 for extent, k in zip(input.shape[-2:], kernel, strict=True))
    )
    return kernel if tiles else None


class _TiledMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, height: int, width: int) -> Tensor:
        across = x.shape[-1] // width
        # Position i of every window's row, over all rows of the tensor; then of every column.
        columns = x.reshape(-1, width).t().unbind(0)
        row_maximum = _maximum(columns)
        rows = row_maximum.reshape(-1, height, across).unbind(1)
        maximum = _maximum(rows)
        ctx.save_for_backward(*columns, row_maximum, *rows, maximum)
        ctx.width, ctx.shape = width, x.shape
        return maximum.reshape(*x.shape[:-2], -1, across)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        columns, rest = ctx.saved_tensors[: ctx.width], ctx.saved_tensors[ctx.width :]
        row_maximum, *rows, maximum = rest
        by_row = _first_takes(grad.reshape(maximum.shape), rows, maximum)
        by_column = _first_takes(torch.stack(by_row, 1).reshape(-1), columns, row_maximum)
        return torch.stack(by_column, 0).t().reshape(ctx.shape), None, None


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


def _pair(values: Extents) -> list[int]:
    given = [values] if isinstance(values, int) else list(values)
    return given * 2 if len(given) == 1 else given
