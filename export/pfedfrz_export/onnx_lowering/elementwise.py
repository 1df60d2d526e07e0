"""Operators that work on each element, with broadcasting and torch's rules for mixed dtypes."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from .graph_builder import onnx_type
from .lowering import Lowerer, Lowering, Value, arguments, tensor_of

__all__ = ["ELEMENTWISE"]

aten = torch.ops.aten
prims = torch.ops.prims


def _unary(operator: str) -> Lowerer:
    def lower(lowering: Lowering, node: fx.Node) -> Value:
        operand = lowering.operand(node.args[0], tensor_of(node).dtype)
        return lowering.graph.emit(operator, operand)

    return lower


def _binary(operator: str) -> Lowerer:
    def lower(lowering: Lowering, node: fx.Node) -> Value:
        dtype = tensor_of(node).dtype
        left, right, *alphas = arguments(node)
        left, right = lowering.operand(left, dtype), lowering.operand(right, dtype)
        for alpha in (alpha for alpha in alphas if alpha != 1):
            right = lowering.graph.emit("Mul", right, lowering.operand(alpha, dtype))
        return lowering.graph.emit(operator, left, right)

    return lower


def _comparison(operator: str, *, negated: bool = False) -> Lowerer:
    def lower(lowering: Lowering, node: fx.Node) -> Value:
        dtype = torch.result_type(*(_sample(argument) for argument in node.args[:2]))
        left, right = (lowering.operand(argument, dtype) for argument in node.args[:2])
        result = lowering.graph.emit(operator, left, right)
        return lowering.graph.emit("Not", result) if negated else result

    return lower


def _sample(argument: Any) -> Any:
    """Something of the same dtype and, where that matters for promotion, the same rank."""
    if not isinstance(argument, fx.Node):
        return argument
    tensor = tensor_of(argument)
    return torch.empty([1] * tensor.dim(), dtype=tensor.dtype)


def _reciprocal_root(lowering: Lowering, node: fx.Node) -> Value:
    root = lowering.graph.emit("Sqrt", lowering.value(node.args[0]))
    return lowering.graph.emit("Reciprocal", root)


def _log1p(lowering: Lowering, node: fx.Node) -> Value:
    dtype = tensor_of(node).dtype
    shifted = lowering.graph.emit(
        "Add", lowering.operand(node.args[0], dtype), lowering.operand(1.0, dtype)
    )
    return lowering.graph.emit("Log", shifted)


def _expm1(lowering: Lowering, node: fx.Node) -> Value:
    dtype = tensor_of(node).dtype
    raised = lowering.graph.emit("Exp", lowering.operand(node.args[0], dtype))
    return lowering.graph.emit("Sub", raised, lowering.operand(1.0, dtype))


def _power(lowering: Lowering, node: fx.Node) -> Value:
    base, exponent = node.args[:2]
    dtype = tensor_of(node).dtype
    value = lowering.operand(base, dtype)
    if exponent == 2:
        return lowering.graph.emit("Mul", value, value)
    return lowering.graph.emit("Pow", value, lowering.operand(exponent, dtype))


def _clamp(lowering: Lowering, node: fx.Node) -> Value:
    dtype = tensor_of(node).dtype
    value = lowering.operand(node.args[0], dtype)
    for operator, bound in zip(("Max", "Min"), arguments(node)[1:], strict=False):
        if bound is not None:
            value = lowering.graph.emit(operator, value, lowering.operand(bound, dtype))
    return value


def _where(lowering: Lowering, node: fx.Node) -> Value:
    dtype = tensor_of(node).dtype
    chosen, other = (lowering.operand(argument, dtype) for argument in node.args[1:3])
    return lowering.graph.emit("Where", lowering.value(node.args[0]), chosen, other)


def _cast(lowering: Lowering, node: fx.Node) -> Value:
    return lowering.graph.emit(
        "Cast", lowering.value(node.args[0]), to=onnx_type(tensor_of(node).dtype)
    )


ELEMENTWISE: dict[Any, Lowerer] = {
    aten.abs.default: _unary("Abs"),
    aten.neg.default: _unary("Neg"),
    aten.sign.default: _unary("Sign"),
    aten.exp.default: _unary("Exp"),
    aten.log.default: _unary("Log"),
    aten.sqrt.default: _unary("Sqrt"),
    aten.reciprocal.default: _unary("Reciprocal"),
    aten.relu.default: _unary("Relu"),
    aten.sigmoid.default: _unary("Sigmoid"),
    aten.tanh.default: _unary("Tanh"),
    aten.erf.default: _unary("Erf"),
    aten.sin.default: _unary("Sin"),
    aten.cos.default: _unary("Cos"),
    aten.floor.default: _unary("Floor"),
    aten.logical_not.default: _unary("Not"),
    aten.bitwise_not.default: _unary("Not"),
    aten.rsqrt.default: _reciprocal_root,
    aten.log1p.default: _log1p,
    aten.expm1.default: _expm1,
    aten.add.Tensor: _binary("Add"),
    aten.add.Scalar: _binary("Add"),
    aten.sub.Tensor: _binary("Sub"),
    aten.sub.Scalar: _binary("Sub"),
    aten.mul.Tensor: _binary("Mul"),
    aten.mul.Scalar: _binary("Mul"),
    aten.div.Tensor: _binary("Div"),
    aten.div.Scalar: _binary("Div"),
    prims.div.default: _binary("Div"),
    aten.maximum.default: _binary("Max"),
    aten.minimum.default: _binary("Min"),
    aten.logical_and.default: _binary("And"),
    aten.logical_or.default: _binary("Or"),
    aten.logical_xor.default: _binary("Xor"),
    aten.bitwise_and.Tensor: _binary("And"),
    aten.bitwise_or.Tensor: _binary("Or"),
    aten.pow.Tensor_Scalar: _power,
    aten.pow.Tensor_Tensor: _power,
    aten.pow.Scalar: _power,
    aten.eq.Tensor: _comparison("Equal"),
    aten.eq.Scalar: _comparison("Equal"),
    aten.ne.Tensor: _comparison("Equal", negated=True),
    aten.ne.Scalar: _comparison("Equal", negated=True),
    aten.lt.Tensor: _comparison("Less"),
    aten.lt.Scalar: _comparison("Less"),
    aten.le.Tensor: _comparison("LessOrEqual"),
    aten.le.Scalar: _comparison("LessOrEqual"),
    aten.gt.Tensor: _comparison("Greater"),
    aten.gt.Scalar: _comparison("Greater"),
    aten.ge.Tensor: _comparison("GreaterOrEqual"),
    aten.ge.Scalar: _comparison("GreaterOrEqual"),
    aten.clamp.default: _clamp,
    aten.clamp.Tensor: _clamp,
    aten.clamp_min.default: _clamp,
    aten.where.self: _where,
    aten._to_copy.default: _cast,
    prims.convert_element_type.default: _cast,
}
