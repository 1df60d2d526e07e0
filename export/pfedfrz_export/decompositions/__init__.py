"""Backward operators written in operators that every runtime has."""

from __future__ import annotations

from .table import DecompositionTable, standard_decompositions

__all__ = ["DecompositionTable", "standard_decompositions"]
