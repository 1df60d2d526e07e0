"""Matrix products and convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from .lowering import Lowerer, Lowering, Value, arguments, tensor_of

__all__ = ["PRODUCT"]

aten = torch.ops.aten


def _mm(lowering: Lowering, node: fx.Node) -> Value:
    (left, turned_left), (right, turned_right) = (_matrix(lowering, a) for a in node.args[:2])
    if turned_left or turned_right:
        return lowering.graph.emit(
            "Gemm", left, right, transA=int(turned_left), transB=int(turned_right)
        )
    return lowering.graph.emit("MatMul", left, right)


def _addmm(lowering: Lowering, node: fx.Node) -> Value:
    added, first, second, beta, alpha = arguments(node)
    (left, turned_left), (right, turned_right) = (_matrix(lowering, a) for a in (first, second))
    return lowering.graph.emit(
        "Gemm",
        left,
        right,
        lowering.value(added),
        transA=int(turned_left),
        transB=int(turned_right),
        alpha=float(alpha),
        beta=float(beta),
    )


def _matrix(lowering: Lowering, argument: Any) -> tuple[str, bool]:
    """A matrix and whether to read it transposed, which Gemm does without moving it."""
    if argument.target is aten.permute.default and lowering.constant_of(argument) is None:
        return lowering.value(argument.args[0]), True
    return lowering.value(argument), False


def _bmm(lowering: Lowering, node: fx.Node) -> Value:
    left, right = (lowering.value(argument) for argument in node.args[:2])
    return lowering.graph.emit("MatMul", left, right)


def _convolution(lowering: Lowering, node: fx.Node) -> Value:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = arguments(node)
    rank = tensor_of(weight).dim() - 2
    inputs = [lowering.value(x), lowering.value(weight)]
    if bias is not None:
        inputs.append(lowering.value(bias))
    attributes: dict[str, Any] = {
        "kernel_shape": list(tensor_of(weight).shape[2:]),
        "strides": _spread(stride, rank),
        "pads": _spread(padding, rank) * 2,
        "dilations": _spread(dilation, rank),
        "group": groups,
    }
    if transposed:
        attributes["output_padding"] = _spread(output_padding, rank)
        return lowering.graph.emit("ConvTranspose", *inputs, **attributes)
    return lowering.graph.emit("Conv", *inputs, **attributes)


def _spread(values: Any, rank: int) -> list[int]:
    return list(values) * rank if len(values) == 1 else list(values)


PRODUCT: dict[Any, Lowerer] = {
    aten.mm.default: _mm,
    aten.addmm.default: _addmm,
    aten.bmm.default: _bmm,
    aten.convolution.default: _convolution,
}
