"""Whether other processes do the validation and the adding up, and how long they may take."""

from __future__ import annotations

import msgspec

from pfedfrz_protocol import ConfigurationError

from .aggregation import AggregationRule, Mean
from .policy import RoundPolicy
from .validation import ValidationPolicy

__all__ = ["WorkerPolicy", "require_mergeable"]

_LONGEST_S = 86_400
_MOST_SAMPLES = 1 << 30
"""Of one update in an exact sum."""


class WorkerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[workers]`."""

    enabled: bool = False
    """Whether `pfedfrz worker` processes take the updates; the coordinator then takes none."""
    collect_timeout_s: float = 60.0
    """A worker that is silent for so long when its partial sum is asked for has lost it."""

    def __post_init__(self) -> None:
        if not 0 < self.collect_timeout_s <= _LONGEST_S:
            raise ConfigurationError(
                f"[workers] collect_timeout_s = {self.collect_timeout_s} "
                f"(want above 0, at most {_LONGEST_S})"
            )


def require_mergeable(
    workers: WorkerPolicy, rule: AggregationRule, rounds: RoundPolicy, validation: ValidationPolicy
) -> None:
    """ConfigurationError unless partial sums of these settings' updates can be merged exactly."""
    exact = isinstance(rule, Mean) and rule.exact
    if workers.enabled and not exact:
        raise ConfigurationError(
            f'[workers] add up the exact mean alone, and aggregation is "{rule.name}": write '
            'aggregation = "mean:exact=true", or leave [workers] out'
        )
    if exact and rounds.buffer:
        raise ConfigurationError(
            f"[rounds] buffer = {rounds.buffer}: late updates are weighed and so are not exact; "
            'write aggregation = "mean", without [workers], or leave buffer out'
        )
    if exact and validation.max_samples >= _MOST_SAMPLES:
        raise ConfigurationError(
            f"[validation] max_samples = {validation.max_samples}: an exact mean counts at most "
            f"{_MOST_SAMPLES - 1} for an update"
        )
