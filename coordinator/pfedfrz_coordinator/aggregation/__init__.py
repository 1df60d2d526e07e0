"""Rules that make one model of many updates, one rule a file.

docs/aggregation.md has all of them in one table: equation, source, what they stand and cost.
"""

from __future__ import annotations

from .exact_sum import ExactSum
from .mean import Mean
from .pre_aggregation import PreAggregated, PreAggregation
from .round_updates import RoundUpdates
from .rows import UpdateRows, UpdatesInMemory
from .rule import AggregationRule, aggregate, require_clients, round_seed
from .rules import PRE_AGGREGATIONS, RULES, find_rule

__all__ = [
    "PRE_AGGREGATIONS",
    "RULES",
    "AggregationRule",
    "ExactSum",
    "Mean",
    "PreAggregated",
    "PreAggregation",
    "RoundUpdates",
    "UpdateRows",
    "UpdatesInMemory",
    "aggregate",
    "find_rule",
    "require_clients",
    "round_seed",
]
