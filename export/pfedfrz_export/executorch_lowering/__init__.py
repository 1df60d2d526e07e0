"""Traced graphs to an ExecuTorch program that XNNPACK runs fast."""

from __future__ import annotations

from .lowering import to_executorch
from .table import executorch_decompositions

__all__ = ["executorch_decompositions", "to_executorch"]
