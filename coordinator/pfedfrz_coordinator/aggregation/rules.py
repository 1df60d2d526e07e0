"""The rules by name, and how a rule with its settings is written.

    median    krum:attackers=2    nnm+trimmed-mean:attackers=2    bucketing+krum:attackers=1,...

Names of pre-aggregations and of one rule, joined by `+`; then `:` and settings `key=value`, joined
by `,`. Every stage takes the settings that it knows; all take the same number of attackers. The
form is one string, so that it is the same in a TOML file and on a command line.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pfedfrz_protocol import ConfigurationError

from .bucketing import Bucketing
from .bulyan import Bulyan
from .centered_clipping import CenteredClipping
from .geometric_median import GeometricMedian
from .krum import Krum
from .meamed import MeaMed
from .mean import Mean
from .median import Median
from .multi_krum import MultiKrum
from .nnm import NearestNeighbourMixing
from .norm_clipping import NormClipping
from .pre_aggregation import PreAggregated
from .rule import AggregationRule
from .trimmed_mean import TrimmedMean

__all__ = ["PRE_AGGREGATIONS", "RULES", "find_rule"]

_LONGEST = 400

Rule = (
    Mean
    | Median
    | TrimmedMean
    | GeometricMedian
    | Krum
    | MultiKrum
    | Bulyan
    | MeaMed
    | CenteredClipping
    | NormClipping
)
Stage = NearestNeighbourMixing | Bucketing

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        Mean,
        Median,
        TrimmedMean,
        GeometricMedian,
        Krum,
        MultiKrum,
        Bulyan,
        MeaMed,
        CenteredClipping,
        NormClipping,
    )
}
PRE_AGGREGATIONS: dict[str, type[Stage]] = {
    stage.name: stage for stage in (NearestNeighbourMixing, Bucketing)
}


def find_rule(text: str) -> AggregationRule:
    """The rule that is written like this; ConfigurationError says what does not fit."""
    if len(text) > _LONGEST:
        raise ConfigurationError(
            f"an aggregation rule of {len(text)} characters; want NAME or NAME:KEY=VALUE,KEY=VALUE"
        )
    if not text.isprintable():
        raise ConfigurationError(f"aggregation {text!r}: it has characters that cannot be printed")
    names, _, rest = text.partition(":")
    *before, last = names.split("+")
    if last in PRE_AGGREGATIONS:
        raise ConfigurationError(
            f"aggregation {text!r}: {last} comes before a rule, as in '{last}+median'"
        )
    if last not in RULES:
        raise ConfigurationError(
            f"unknown aggregation rule {last!r}; choose from: {', '.join(RULES)}"
        )
    for name in before:
        if name not in PRE_AGGREGATIONS:
            raise ConfigurationError(
                f"aggregation {text!r}: {name!r} cannot come before a rule; what can: "
                f"{', '.join(PRE_AGGREGATIONS)}"
            )
    settings = _settings(text, rest)
    kinds: list[type[Stage] | type[Rule]] = [*(PRE_AGGREGATIONS[name] for name in before)]
    kinds.append(RULES[last])
    known = sorted({field for kind in kinds for field in kind.__struct_fields__})
    if set(settings) - set(known):
        wrong = ", ".join(sorted(set(settings) - set(known)))
        choice = f"its settings are: {', '.join(known)}" if known else "it takes none"
        raise ConfigurationError(f"aggregation {text!r}: unknown setting {wrong}; {choice}")
    made = [_make(text, kind, settings) for kind in kinds]
    rule: Any = made[-1]
    if before and isinstance(rule, Mean) and rule.exact:
        raise ConfigurationError(
            f"aggregation {text!r}: an exact mean adds updates as they came, and nothing may come "
            "before it"
        )
    if not before:
        found: AggregationRule = rule
        return found
    stages: Any = tuple(made[:-1])
    return PreAggregated(stages, rule, int(settings.get("attackers", 0)))


def _settings(text: str, rest: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in rest.split(",") if rest else []:
        key, separator, value = (part.strip() for part in pair.partition("="))
        if not (key and separator and value):
            raise ConfigurationError(
                f"aggregation {text!r}: {pair!r} is no setting; write 'krum:attackers=2'"
            )
        if key in settings:
            raise ConfigurationError(f"aggregation {text!r}: {key} is given twice")
        settings[key] = value
    return settings


def _make(text: str, kind: type[Any], settings: dict[str, str]) -> Any:
    own = {key: settings[key] for key in kind.__struct_fields__ if key in settings}
    try:
        return msgspec.convert(own, kind, strict=False)
    except msgspec.ValidationError as error:
        if "missing required field" in str(error):
            raise ConfigurationError(
                f"aggregation {text!r}: {kind.name} must know how many attackers to stand, as in "
                f"'{text.rstrip(':')}{',' if settings else ':'}attackers=2'"
            ) from error
        raise ConfigurationError(f"aggregation {text!r}: {error}") from error
