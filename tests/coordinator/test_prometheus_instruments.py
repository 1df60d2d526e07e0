import math
from pathlib import Path

import msgspec
import pytest
from exposition import Exposition
from prometheus_client import generate_latest
from promtool import promtool

from pfedfrz_coordinator.engine_states import EngineState
from pfedfrz_coordinator.instruments import Situation
from pfedfrz_coordinator.journal import DeviceRow
from pfedfrz_coordinator.prometheus_instruments import (
    MAX_DEVICES_SHOWN,
    FederationFacts,
    PrometheusInstruments,
)
from pfedfrz_coordinator.registry import Standing
from pfedfrz_protocol import LocalReport, Purpose, RejectReason, RoundMetrics

FACTS = FederationFacts("lab", "1.2.3", "a" * 64, "median", 7)
SITUATION = Situation(EngineState.COLLECTING, 3, False, True, 5, 2, 1, {})
METRICS = RoundMetrics(
    round=3,
    purpose=Purpose.TRAIN,
    model_version=2,
    selected=5,
    accepted=3,
    rejected={RejectReason.NOT_FINITE: 1},
    missing=1,
    received_mean=0.5,
    local_mean=0.625,
    loss_mean=1.5,
    uplink_bytes=1000,
    downlink_bytes=2000,
    duration_s=12.0,
    update_norms={"a": 1.0, "b": 4.0, "c": 0.5},
    stale=1,
    ignored={RejectReason.LATE: 5},
    update_cosines={"a": 0.75, "b": -0.25},
    train_s=30.0,
    evaluate_s=4.0,
)
ROWS = [
    DeviceRow(3, "a", "accepted", LocalReport(10, 0.25, 0.5), 10, 1.0, 333),
    DeviceRow(3, "b", "accepted", None, 10, 4.0, 333),
    DeviceRow(3, "d", "rejected", LocalReport(20, None, 0.75), 0, None, 0),
]


def made(*, per_device: bool = False) -> PrometheusInstruments:
    return PrometheusInstruments(FACTS, per_device=per_device)


def shown(instruments: PrometheusInstruments) -> Exposition:
    return Exposition(generate_latest(instruments.registry).decode())


def close(instruments: PrometheusInstruments, metrics: RoundMetrics = METRICS) -> None:
    instruments.aggregating(100.0)
    instruments.closed(metrics, lambda: ROWS, closed_at=1.5e9, now_s=100.25)


def test_what_a_coordinator_is_and_how_it_is() -> None:
    instruments = made()
    instruments.look(SITUATION)
    instruments.standings({Standing.ENROLLED: 8, Standing.QUARANTINED: 2})
    found = shown(instruments)
    assert found.value("build_info", version="1.2.3") == 1
    assert found.value("federation_info", federation="lab", bundle="a" * 64, aggregation="median")
    assert (found.value("rounds_planned"), found.value("round")) == (7, 3)
    assert (found.value("broker_connected"), found.value("paused")) == (1, 0)
    states = {state: found.value("state", state=state.value) for state in EngineState}
    assert [state for state, value in states.items() if value] == [EngineState.COLLECTING]
    present = {name: found.value("devices", presence=name) for name in ("online", "waiting")}
    assert present == {"online": 5, "waiting": 2}
    assert found.value("devices", presence="silent") == 1
    standings = {s.value: found.value("devices_standing", standing=s.value) for s in Standing}
    assert standings == {"enrolled": 8, "waiting": 0, "quarantined": 2, "revoked": 0}


def test_a_closed_round_is_counted_and_its_means_are_shown() -> None:
    instruments = made()
    close(instruments)
    close(instruments)
    found = shown(instruments)
    assert found.value("rounds_closed_total", purpose="train") == 2
    assert found.value("round_closed_timestamp_seconds") == 1.5e9
    assert found.value("round_duration_seconds_sum", purpose="train") == 24
    assert found.value("round_duration_seconds_bucket", purpose="train", le="30.0") == 2
    assert found.value("round_duration_seconds_bucket", purpose="train", le="10.0") == 0
    assert found.value("aggregation_duration_seconds_sum") == 0.5
    assert found.value("updates_total", outcome="accepted", reason="none") == 6
    assert found.value("updates_total", outcome="missing", reason="none") == 2
    assert found.value("updates_total", outcome="rejected", reason="not-finite") == 2
    assert found.value("updates_total", outcome="rejected", reason="late") == 0
    assert found.value("updates_stale_total") == 2
    assert (found.value("uplink_bytes_total"), found.value("downlink_bytes_total")) == (2000, 4000)
    assert found.value("device_train_seconds_total") == 60
    assert found.value("device_evaluate_seconds_total") == 8
    assert found.value("received_accuracy_ratio") == 0.5
    assert found.value("local_accuracy_ratio") == 0.625
    assert found.value("train_loss") == 1.5
    for name, low, middle, high in (
        ("update_norm", 0.5, 1.0, 4.0),
        ("update_cosine", -0.25, 0.25, 0.75),
    ):
        values = [found.value(name, statistic=s) for s in ("min", "median", "max")]
        assert values == [low, middle, high]
    assert found.value("updates_opposed") == 1


def test_a_round_that_measures_alone_asks_for_no_updates() -> None:
    instruments = made()
    close(instruments)
    evaluated = msgspec.structs.replace(
        METRICS, purpose=Purpose.EVALUATE, accepted=0, missing=4, rejected={}, stale=0,
        update_norms={}, update_cosines={}, received_mean=0.875, local_mean=None, loss_mean=None,
    )  # fmt: skip
    instruments.closed(evaluated, lambda: ROWS, closed_at=1.6e9, now_s=200.0)
    found = shown(instruments)
    assert found.value("rounds_closed_total", purpose="evaluate") == 1
    assert found.value("updates_total", outcome="missing", reason="none") == 1
    assert found.value("aggregation_duration_seconds_count") == 1
    assert found.value("received_accuracy_ratio") == 0.875
    assert math.isnan(found.value("local_accuracy_ratio"))
    assert found.value("update_norm", statistic="max") == 4.0  # of the last model


def test_what_was_never_measured_is_no_number() -> None:
    found = shown(made())
    for name in ("received_accuracy_ratio", "local_accuracy_ratio", "train_loss", "local_loss"):
        assert math.isnan(found.value(name))


def test_after_a_restart_the_last_round_is_shown_and_not_counted_again() -> None:
    instruments = made()
    instruments.resumed(METRICS, 1.5e9)
    found = shown(instruments)
    assert found.value("local_accuracy_ratio") == 0.625
    assert found.value("round_closed_timestamp_seconds") == 1.5e9
    assert found.value("rounds_closed_total", purpose="train") == 0
    assert found.value("uplink_bytes_total") == 0


def test_ignored_messages_are_counted_once_though_they_are_told_twice() -> None:
    instruments = made()
    for count in (2, 2, 4):
        instruments.look(_ignoring(count))
    close(instruments)  # 5 by then, and the count begins anew
    instruments.look(_ignoring(0))
    instruments.look(_ignoring(3))
    assert shown(instruments).value("messages_ignored_total", reason="late") == 8


def _ignoring(count: int) -> Situation:
    return Situation(EngineState.WAITING, 3, False, True, 0, 0, 0, {RejectReason.LATE: count})


def test_no_device_is_named_unless_that_is_wanted() -> None:
    instruments = made()
    close(instruments)
    assert "device" not in {
        label for labels in shown(instruments).labels().values() for label in labels
    }


def test_devices_are_shown_by_name_with_what_is_known_of_them() -> None:
    instruments = made(per_device=True)
    close(instruments)
    found = shown(instruments)
    assert [found.value("device_accepted", device=name) for name in "abd"] == [1, 1, 0]
    assert found.value("device_received_accuracy_ratio", device="a") == 0.25
    assert found.value("device_local_accuracy_ratio", device="d") == 0.75
    assert found.value("device_update_cosine", device="b") == -0.25
    assert found.value("device_update_norm", device="a") == 1.0
    assert found.value("device_samples", device="d") == 20
    for name, device in (("device_received_accuracy_ratio", "d"), ("device_samples", "b")):
        with pytest.raises(KeyError):
            found.value(name, device=device)


def test_a_round_that_measures_leaves_what_is_known_of_the_last_updates() -> None:
    instruments = made(per_device=True)
    close(instruments)
    evaluated = msgspec.structs.replace(
        METRICS, purpose=Purpose.EVALUATE, update_norms={}, update_cosines={}
    )
    rows = [DeviceRow(4, "a", "reported", LocalReport(10, 0.875), 0, None, 0)]
    instruments.closed(evaluated, lambda: rows, closed_at=1.0, now_s=1.0)
    found = shown(instruments)
    assert found.value("device_received_accuracy_ratio", device="a") == 0.875
    assert found.value("device_update_norm", device="b") == 4.0
    assert found.value("device_accepted", device="d") == 0
    with pytest.raises(KeyError):
        found.value("device_local_accuracy_ratio", device="d")


def test_named_devices_are_bounded_and_those_of_the_last_round() -> None:
    instruments = made(per_device=True)
    rows = [DeviceRow(3, f"d{n:05d}", "accepted", None, 1, 1.0, 1) for n in range(3000)]
    instruments.closed(METRICS, lambda: rows, closed_at=1.0, now_s=1.0)
    named = [key for key in shown(instruments).samples if key[0] == "pfedfrz_device_accepted"]
    assert len(named) == MAX_DEVICES_SHOWN
    instruments.closed(METRICS, lambda: ROWS, closed_at=1.0, now_s=1.0)
    named = [key for key in shown(instruments).samples if key[0] == "pfedfrz_device_accepted"]
    assert len(named) == len(ROWS)


@pytest.mark.parametrize("per_device", [False, True])
def test_names_units_and_helps_are_by_prometheus_rules(per_device: bool) -> None:
    instruments = made(per_device=per_device)
    instruments.look(SITUATION)
    instruments.standings({})
    close(instruments)
    found = shown(instruments)
    assert not promtool("check", "metrics", given=found.text)
    ours = [family for name, family in found.families.items() if name.startswith("pfedfrz_")]
    assert len(ours) > 20
    assert all(family.documentation.endswith(".") for family in ours)
    assert not any(name.endswith("_created") for name, _ in found.samples)


def test_promtool_finds_a_fault_where_there_is_one(tmp_path: Path) -> None:
    """The check above can fail."""
    with pytest.raises(AssertionError, match="counter metrics should have"):
        promtool("check", "metrics", given="# HELP a b\n# TYPE a counter\na 1\n")


def test_a_federation_with_quotes_in_its_facts_is_still_parsed() -> None:
    odd = FederationFacts("lab", "1", "a" * 64, 'mean:"\\\n', 1)
    found = shown(PrometheusInstruments(odd))
    (labels,) = [dict(key[1]) for key in found.samples if key[0] == "pfedfrz_federation_info"]
    assert labels["aggregation"] == odd.aggregation
