"""A coordinator's loop, and what it shows of itself."""

import time

from coordinator_lab import Lab, Life, begin, wait_for
from measured_rounds import measure, rounds_with_a_reject, shown

from pfedfrz_coordinator.registry import Registry
from pfedfrz_protocol import DesiredState, Presence, RoundAnnouncement


def test_rounds_are_shown_as_they_went(lab: Lab) -> None:
    before = time.time()
    found = rounds_with_a_reject(lab)
    assert found.value("rounds_closed_total", purpose="train") == 2
    assert found.value("rounds_closed_total", purpose="evaluate") == 1
    assert found.value("round") == 3
    assert found.value("updates_total", outcome="accepted", reason="none") == 3
    assert found.value("updates_total", outcome="rejected", reason="not-finite") == 1
    assert found.value("messages_ignored_total", reason="wrong-signature") == 1
    assert found.value("aggregation_duration_seconds_count") == 2
    assert found.value("round_duration_seconds_count", purpose="train") == 2
    assert before <= found.value("round_closed_timestamp_seconds") <= time.time()
    assert found.value("received_accuracy_ratio") == 0.5
    assert found.value("update_cosine", statistic="max") < -0.99
    assert found.value("broker_connected") == 1


def test_who_is_there_is_shown_as_time_passes(lab: Lab) -> None:
    instruments = measure(lab)
    life, _, b, _ = begin(lab)
    life.after(6)
    wait_for(lambda: shown(instruments).value("devices_standing", standing="enrolled") == 2)
    assert shown(instruments).value("devices", presence="online") == 2
    assert shown(instruments).value("state", state="collecting") == 1
    b.say(Presence.WAITING, waiting_for="its hours")
    life.after(2)
    wait_for(lambda: _later(life, shown(instruments).value("devices", presence="waiting") == 1))
    b.say(Presence.ONLINE)
    wait_for(lambda: _later(life, shown(instruments).value("devices", presence="online") == 2))
    registry = Registry(lab.disk)
    registry.quarantine("b", "by hand")
    registry.close()
    name = "devices_standing"
    wait_for(lambda: _later(life, shown(instruments).value(name, standing="quarantined") == 1))
    wait_for(lambda: _later(life, shown(instruments).value("devices", presence="online") == 1))


def test_a_pause_is_shown_and_its_end(lab: Lab) -> None:
    instruments = measure(lab)
    life, *_ = begin(lab)
    life.service.request(DesiredState.PAUSE)
    life.after(2)
    wait_for(lambda: _later(life, shown(instruments).value("paused") == 1))
    life.service.request(DesiredState.RUN)
    wait_for(lambda: _later(life, shown(instruments).value("paused") == 0))


def _later(life: Life, holds: bool) -> bool:
    """Whether it holds; else some time passes."""
    if not holds:
        life.after(2)
    return holds


def test_a_broker_that_is_away_is_shown(lab: Lab) -> None:
    instruments = measure(lab)
    life, *_ = begin(lab)
    lab.broker.stop()
    wait_for(lambda: _later(life, shown(instruments).value("broker_connected") == 0))
    lab.broker.start()
    wait_for(lambda: _later(life, shown(instruments).value("broker_connected") == 1))


def test_the_next_life_shows_what_the_last_one_left(lab: Lab) -> None:
    measure(lab)
    life, a, b, first = begin(lab, rounds=2)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    a.expect(RoundAnnouncement)
    life.end()
    instruments = measure(lab)
    lab.coordinator(rounds=2)
    found = shown(instruments)
    assert found.value("local_accuracy_ratio") == 0.75
    assert found.value("round_closed_timestamp_seconds") > 1e9
    assert found.value("rounds_closed_total", purpose="train") == 0
