"""Backward operators written in operators that every runtime has."""

from __future__ import annotations

from .table import DecompositionTable, forward_decompositions, standard_decompositions
from .tiled_max_pool import TiledMaxPools

__all__ = [
    "DecompositionTable",
    "TiledMaxPools",
    "forward_decompositions",
    "standard_decompositions",
]
