"""The rules by name."""

from __future__ import annotations

from pfedfrz_protocol import ConfigurationError

from .mean import Mean
from .median import Median
from .rule import AggregationRule

__all__ = ["RULES", "find_rule"]

RULES: dict[str, AggregationRule] = {rule.name: rule for rule in (Mean(), Median())}


def find_rule(name: str) -> AggregationRule:
    """The rule of that name; ConfigurationError lists those that there are."""
    if name not in RULES:
        raise ConfigurationError(
            f"unknown aggregation rule {name!r}; choose from: {', '.join(RULES)}"
        )
    return RULES[name]
