"""Pools over two axes."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from .lowering import Lowerer, Lowering, Value, arguments, tensor_of

__all__ = ["POOLING"]

aten = torch.ops.aten


def _max_pool(lowering: Lowering, node: fx.Node) -> Value:
    x, kernel, stride, padding, dilation, _ = arguments(node)
    kernel, padding, dilation = _pair(kernel), _pair(padding), _pair(dilation)
    strides = _pair(stride or kernel)
    image, pooled = tensor_of(x).shape[-2:], node.meta["val"][0].shape[-2:]
    # Said as padding, torch's rounding up of the output size means the same to every runtime.
    after = [
        max(0, (points - 1) * s + d * (k - 1) + 1 - extent - p)
        for points, s, d, k, extent, p in zip(
            pooled, strides, dilation, kernel, image, padding, strict=True
        )
    ]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": [*padding, *after],
        "dilations": dilation,
    }
    inputs = [lowering.value(x)]
    if not _asks_for_indices(node):
        return lowering.graph.emit_many("MaxPool", inputs, 1, **attributes)
    values, flat = lowering.graph.emit_many("MaxPool", inputs, 2, **attributes)
    # ONNX counts through the whole tensor, torch within each channel of each sample.
    area = lowering.operand(math.prod(image), torch.int64)
    return values, lowering.graph.emit("Mod", flat, area)


def _asks_for_indices(node: fx.Node) -> bool:
    return any(user.target is operator.getitem and user.args[1] == 1 for user in node.users)


def _average_pool(lowering: Lowering, node: fx.Node) -> Value:
    x, kernel, stride, padding, _, count_include_pad, _ = arguments(node)
    return lowering.graph.emit(
        "AveragePool",
        lowering.value(x),
        kernel_shape=_pair(kernel),
        strides=_pair(stride or kernel),
        pads=_pair(padding) * 2,
        count_include_pad=int(count_include_pad),
    )


def _pair(values: Any) -> list[int]:
    return list(values) * 2 if len(values) == 1 else list(values)


POOLING: dict[Any, Lowerer] = {
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
}
