"""How a rule is written, what is refused, and how many clients it needs."""

from pathlib import Path

import msgspec
import pytest

from pfedfrz_coordinator.aggregation import PRE_AGGREGATIONS, RULES, find_rule, require_clients
from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_protocol import ConfigurationError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("magic", "unknown aggregation rule 'magic'; choose from: mean, median, trimmed-mean"),
        ("", "unknown aggregation rule ''"),
        ("krum", "krum must know how many attackers to stand, as in 'krum:attackers=2'"),
        ("krum:", "as in 'krum:attackers=2'"),
        ("nnm+median", "nnm must know how many attackers"),
        ("krum:attackers=two", "Expected `int`, got `str` - at `$.attackers`"),
        ("krum:attackers=-1", ">= 0 - at `$.attackers`"),
        ("krum:attackers", "'attackers' is no setting; write 'krum:attackers=2'"),
        ("krum:attackers=1,attackers=2", "attackers is given twice"),
        ("krum:attackers=1,radius=2", "unknown setting radius; its settings are: attackers"),
        ("mean:attackers=1", "unknown setting attackers; its settings are: exact"),
        ("norm-clipping:radius=0", "> 0.0 - at `$.radius`"),
        ("norm-clipping:radius=nan", "at `$.radius`"),
        ("norm-clipping:radius=inf", "at `$.radius`"),
        ("norm-clipping:attackers=1", "unknown setting attackers; its settings are: radius"),
        ("geometric-median:iterations=0", ">= 1 - at `$.iterations`"),
        ("bucketing+median:bucket_size=0", ">= 1 - at `$.bucket_size`"),
        ("nnm", "nnm comes before a rule, as in 'nnm+median'"),
        ("median+krum:attackers=1", "'median' cannot come before a rule; what can: nnm, bucket"),
        ("nnm+mean:attackers=2", "nnm+mean stands no attackers, because mean stands none"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_rule(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_reach_every_stage_that_knows_them() -> None:
    rule = find_rule("nnm+bucketing+centered-clipping: attackers=1, bucket_size=3, radius=2.5")
    assert (rule.name, rule.attackers) == ("nnm+bucketing+centered-clipping", 1)
    assert "NearestNeighbourMixing(attackers=1), Bucketing(bucket_size=3)" in repr(rule)
    assert "CenteredClipping(attackers=1, radius=2.5, iterations=3)" in repr(rule)


@pytest.mark.parametrize(
    ("text", "clients"),
    [
        ("mean", 1),
        ("norm-clipping", 1),
        ("median", 1),
        ("median:attackers=3", 7),
        ("trimmed-mean:attackers=3", 7),
        ("geometric-median:attackers=3", 7),
        ("meamed:attackers=3", 7),
        ("krum:attackers=3", 9),
        ("multi-krum:attackers=3", 9),
        ("bulyan:attackers=3", 15),
        ("centered-clipping:attackers=3", 30),
        ("nnm+median:attackers=3", 7),
        ("nnm+bulyan:attackers=3", 15),
        ("bucketing+median:attackers=3,bucket_size=2", 13),
        ("bucketing+krum:attackers=1,bucket_size=3", 13),
    ],
)
def test_a_rule_knows_the_fewest_clients_that_it_needs(text: str, clients: int) -> None:
    rule = find_rule(text)
    assert rule.fewest_clients == clients
    assert rule.tolerates(clients) >= rule.attackers
    if rule.attackers:
        assert rule.tolerates(clients - 1) < rule.attackers
        assert rule.tolerates(clients) == rule.attackers
    require_clients(rule, clients, "never said")
    with pytest.raises(ConfigurationError, match=f"needs {clients} clients, there are"):
        require_clients(rule, clients - 1, "there are too few")


def test_the_refusal_names_rule_attackers_need_and_situation() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_clients(find_rule("bulyan:attackers=3"), 10, "this fleet selects 10")
    said = "bulyan with 3 attackers needs 15 clients, this fleet selects 10"
    assert str(caught.value) == said
    with pytest.raises(ConfigurationError, match=r"^krum with 1 attacker needs 5 clients"):
        require_clients(find_rule("krum:attackers=1"), 2, "")


@pytest.mark.parametrize("names", [RULES, PRE_AGGREGATIONS])
def test_every_rule_states_equation_source_and_what_it_stands(names: dict[str, type]) -> None:
    for name, kind in names.items():
        text = kind.__doc__ or ""
        assert "Source:" in text, name
        assert "Stands " in text, name
        assert issubclass(kind, msgspec.Struct), name


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        (RoundPolicy(participants=10), "needs 15 clients, participants = 10"),
        (RoundPolicy(max_devices=14), "needs 15 clients, max_devices = 14"),
    ],
)
def test_a_coordinator_refuses_rounds_that_are_too_small_for_its_rule(
    rounds: RoundPolicy, says: str
) -> None:
    def settings(policy: RoundPolicy, rule: str) -> CoordinatorSettings:
        paths = {"bundle": Path("b"), "state_dir": Path("s")}
        return CoordinatorSettings("lab", **paths, aggregation=rule, rounds=policy)

    assert settings(RoundPolicy(participants=15), "bulyan:attackers=3")
    with pytest.raises(ConfigurationError, match=says):
        settings(rounds, "bulyan:attackers=3")
