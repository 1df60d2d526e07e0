"""The picture of a federation that its messages give."""

from __future__ import annotations

import pytest
from federation_messages import Speaker
from hypothesis import given
from hypothesis import strategies as st
from identities import key_of

from pfedfrz_monitor import FederationView, Kind, Outcome, Stage, Standing
from pfedfrz_protocol import (
    Accepted,
    BundleInstalled,
    BundleRefused,
    Control,
    CoordinatorStatus,
    DesiredState,
    Grant,
    Membership,
    Presence,
    Purpose,
    Rejected,
    RejectReason,
    RoundBrief,
    RoundFailed,
    RoundHistory,
    Topics,
)
from pfedfrz_transport import topic_matches


def test_devices_appear_with_their_presence() -> None:
    lab = Speaker()
    lab.status("a")
    lab.status("b")
    lab.status("b", Presence.OFFLINE)
    lab.status("c", Presence.WAITING, "power: not on mains")
    assert {name: d.presence for name, d in lab.view.devices.items()} == {
        "a": Presence.ONLINE,
        "b": Presence.OFFLINE,
        "c": Presence.WAITING,
    }


def test_a_device_is_seen_training_and_done() -> None:
    lab = Speaker()
    lab.announce(3, "a")
    lab.progress("a", 3)
    assert lab.view.devices["a"].doing == "phase 2/2 all, epoch 1/3"
    lab.ready("a", 3, 0.25, 0.75)
    assert lab.view.devices["a"].doing == "update ready"
    lab.announce(4, "a", purpose=Purpose.EVALUATE)
    lab.evaluated("a", 4, 0.5, None)
    assert lab.view.devices["a"].doing == "evaluated"
    latest = lab.view.devices["a"].latest
    assert latest is not None
    assert (latest.received, latest.local) == (0.5, None)
    before = lab.view.report("a", 3)
    assert before is not None
    assert before.local == 0.75


def test_which_bundle_a_device_has_and_what_it_makes_of_another_is_seen() -> None:
    lab = Speaker()
    lab.status("a")
    assert len(lab.view.devices["a"].bundle) == 64
    lab.event("a", BundleRefused(5, "b" * 64, "boot", "no room"))
    assert lab.view.devices["a"].doing == "refused a bundle: no room"
    lab.event("a", BundleInstalled(6, "c" * 64, "boot", "all carried over"))
    assert lab.view.devices["a"].doing == "has another bundle"
    assert faults(lab) == []


def faults(lab: Speaker) -> list[tuple[str, int, str]]:
    kinds = (Kind.REJECTED, Kind.FAILED)
    return [(e.device, e.round, e.text) for e in lab.view.log.since(0) if e.kind in kinds]


def test_failures_and_refusals_are_faults_in_order() -> None:
    lab = Speaker()
    lab.announce(2, "a", "b")
    lab.failed("a", 2, "diverged")
    lab.rejected("b", 2, RejectReason.NOT_FINITE, "a NaN in fc1.weight")
    assert faults(lab) == [
        ("a", 2, "diverged"),
        ("b", 2, "not-finite: a NaN in fc1.weight"),
    ]


@pytest.mark.parametrize(
    "reason", [RejectReason.LATE, RejectReason.DUPLICATE, RejectReason.NOT_SELECTED]
)
def test_messages_that_cross_are_no_fault(reason: RejectReason) -> None:
    lab = Speaker()
    lab.announce(2, "a")
    lab.rejected("a", 2, reason, "the round is over")
    assert faults(lab) == []


def test_a_round_is_hopeless_when_everybody_asked_has_failed() -> None:
    lab = Speaker()
    assert not lab.view.is_hopeless
    lab.announce(2, "a", "b")
    lab.failed("a", 2, "diverged")
    assert not lab.view.is_hopeless
    lab.failed("b", 1, "diverged")
    assert not lab.view.is_hopeless, "that was another round"
    lab.failed("b", 2, "diverged")
    assert lab.view.is_hopeless
    lab.announce(2, "a", "b", epoch=2)
    assert not lab.view.is_hopeless, "opened again, everybody may try again"
    lab.failed("a", 2, "diverged", epoch=2)
    lab.failed("b", 2, "diverged", epoch=2)
    assert lab.view.is_hopeless
    lab.close(2, 1, 3)
    assert not lab.view.is_hopeless, "earlier updates sufficed"


def test_a_measuring_round_is_never_hopeless() -> None:
    lab = Speaker()
    lab.announce(3, "a", purpose=Purpose.EVALUATE)
    lab.failed("a", 3, "no test samples")
    assert not lab.view.is_hopeless


def test_openings_of_a_round_are_counted() -> None:
    lab = Speaker()
    lab.announce(1, "a", epoch=1)
    lab.announce(1, "a", epoch=1)  # retained state, published again after a reconnect
    assert lab.view.rounds[1].openings == 1
    lab.announce(1, "a", epoch=2)
    lab.announce(1, "a", epoch=3)
    assert lab.view.rounds[1].openings == 3
    lab.announce(2, "a", epoch=3)
    assert lab.view.rounds[2].openings == 1


def test_closed_rounds_are_kept() -> None:
    lab = Speaker()
    lab.close(1, 3, 4)
    lab.close(2, 4, 4)
    accepted = {n: r.brief.accepted for n, r in lab.view.rounds.items() if r.brief}
    assert accepted == {1: 3, 2: 4}


def test_cleared_retained_state_and_other_federations_change_nothing() -> None:
    view = FederationView(Topics("lab"))
    elsewhere = Speaker(FederationView(Topics("elsewhere")))
    elsewhere.status("a")
    view.see(Topics("elsewhere").device("a", "status"), b"{}")
    view.see(view.topics.round, b"")
    assert (view.devices, view.announcement, view.ignored) == ({}, None, {})


@given(st.sampled_from(["round", "metrics", "status", "event", "command"]), st.binary(max_size=80))
def test_bytes_that_are_no_message_are_counted_and_not_believed(leaf: str, payload: bytes) -> None:
    view = FederationView(Topics("lab"))
    topics = view.topics
    topic = {"round": topics.round, "metrics": topics.metrics}.get(leaf)
    view.see(topic or topics.device("a", leaf), payload)
    assert view.ignored.total() == (1 if payload else 0)
    assert (view.announcement, view.rounds, view.log.count) == (None, {}, 0)


def test_the_filters_match_what_is_understood() -> None:
    view = FederationView(Topics("lab"))
    topics = view.topics
    understood = [topics.round, topics.metrics, topics.history, topics.members, topics.control]
    understood += [topics.device("a", leaf) for leaf in ("status", "event", "command")]
    for topic in understood:
        assert sum(topic_matches(f, topic) for f in view.filters) == 1, topic


def test_nobody_speaks_in_another_s_name() -> None:
    lab = Speaker()
    lab.announce(1, "a", "b")
    topics = lab.view.topics
    failed = RoundFailed(1, 1, "boot", "forged")
    lab.say(topics.device("a", "event"), failed, "b")
    lab.say(topics.device("a", "command"), Rejected(1, 1, RejectReason.NOT_FINITE, "forged"), "b")
    lab.say(topics.control, Control(DesiredState.STOP, 1), "a")
    lab.say(topics.coordinator_status, status_by("somebody else"), "somebody else")
    assert lab.view.ignored == {RejectReason.WRONG_SIGNATURE: 4}
    assert faults(lab) == []
    assert not lab.view.is_over


def status_by(name: str) -> CoordinatorStatus:
    return CoordinatorStatus(Presence.OFFLINE, "0" * 64, 1, key_of(name).public)


def test_a_pinned_coordinator_is_believed_and_no_other() -> None:
    view = FederationView(Topics("lab"), key_of("the right one").public)
    lab = Speaker(view)
    assert view.coordinator is None, "it spoke with another key"
    lab.say(view.topics.coordinator_status, status_by("the right one"), "the right one")
    assert view.coordinator is not None


def test_a_device_that_has_shown_no_status_is_not_heard() -> None:
    lab = Speaker()
    topic = lab.view.topics.device("ghost", "event")
    lab.say(topic, RoundFailed(1, 1, "boot", "boo"), "ghost")
    assert lab.view.devices == {}


def test_steps_of_a_round_are_seen_on_each_device() -> None:
    lab = Speaker()
    lab.announce(1, "a", "b", "c")
    lab.progress("a", 1)
    lab.ready("b", 1, 0.5, 0.75)
    stages = {name: (d.stage, d.progress) for name, d in lab.view.devices.items()}
    assert stages["a"] == (Stage.TRAINING, pytest.approx(2 / 3))
    assert stages["b"] == (Stage.READY, 1.0)
    command = lab.view.topics.device("b", "command")
    lab.say(command, Grant(1, 1))
    assert lab.view.devices["b"].stage is Stage.UPLOADING
    lab.say(command, Accepted(1, 1))
    lab.say(command, Accepted(1, 1))  # at least once
    assert (lab.view.devices["b"].stage, lab.view.devices["b"].updates_accepted) == (
        Stage.ACCEPTED,
        1,
    )
    lab.close(1, 1, 3, norms={"b": 2.5}, cosines={"b": -0.25})
    cell = lab.view.rounds[1].cells["b"]
    assert (cell.outcome, cell.norm, cell.cosine) == (Outcome.ACCEPTED, 2.5, -0.25)
    assert lab.view.open_round is None


def test_a_failure_of_an_earlier_opening_does_not_count() -> None:
    lab = Speaker()
    lab.announce(1, "a", epoch=2)
    lab.failed("a", 1, "diverged", epoch=1)
    assert faults(lab) == []


def brief(number: int, **more: float) -> RoundBrief:
    numbers = {"selected": 4, "accepted": 4, "rejected": 0, "missing": 0} | more
    return RoundBrief(number, Purpose.TRAIN, 1e9 + number, 2.0, **numbers)  # type: ignore[arg-type]


def test_who_comes_late_is_told_of_the_rounds_before() -> None:
    lab = Speaker()
    told = RoundHistory((brief(1, received_mean=0.25), brief(2, received_mean=0.5)))
    lab.say(lab.view.topics.history, told)
    lab.close(2, 4, 4)
    lab.announce(2, "a")  # the last one opened is still retained
    assert lab.view.open_round is None
    lab.announce(3, "a")
    assert list(lab.view.rounds) == [1, 2, 3]
    assert lab.view.open_round is lab.view.rounds[3]
    entries = [e.text for e in lab.view.log.since(0) if e.kind is Kind.ROUND]
    assert entries == ["round 2 closed", "round 3 opened for 1 devices"]


def test_a_coordinator_that_lost_its_state_begins_anew() -> None:
    lab = Speaker()
    for number in (1, 2, 3):
        lab.announce(number, "a")
        lab.close(number, 1, 1)
    lab.say(lab.view.topics.history, RoundHistory(()))
    lab.announce(1, "a", epoch=9)
    assert list(lab.view.rounds) == [1]
    assert not lab.view.rounds[1].is_closed


def test_what_the_broker_kept_of_a_lost_life_is_not_shown() -> None:
    lab = Speaker()
    lab.announce(7, "a")
    lab.say(lab.view.topics.history, RoundHistory(()))
    assert (lab.view.open_round, lab.view.announcement, list(lab.view.rounds)) == (None, None, [])
    assert "begins anew" in lab.view.log.since(0)[-1].text
    # Whoever connects now hears the history first, and then what is still retained.
    lab.close(6, 1, 1)
    lab.announce(7, "a")
    assert (lab.view.open_round, list(lab.view.rounds)) == (None, [])
    lab.announce(1, "a")
    assert lab.view.open_round is lab.view.rounds[1]
    lab.close(1, 1, 1)
    lab.say(lab.view.topics.history, RoundHistory((brief(1),)))
    lab.announce(2, "a")
    assert lab.view.open_round is lab.view.rounds[2]


def test_who_is_kept_out_is_seen_with_the_reason() -> None:
    lab = Speaker()
    lab.status("a")
    members = Membership(3, ("new",), {"a": "5 failures in a row"}, ("old",), joining=False)
    lab.say(lab.view.topics.members, members)
    standings = {name: (d.standing, d.refusal) for name, d in lab.view.devices.items()}
    assert standings == {
        "a": (Standing.QUARANTINED, "5 failures in a row"),
        "new": (Standing.WAITING, ""),
        "old": (Standing.REVOKED, ""),
    }
    lab.say(lab.view.topics.members, Membership(4, (), {}, ("old",), joining=False))
    assert lab.view.devices["a"].standing is Standing.ENROLLED


def test_whatever_comes_the_view_stays_within_its_bounds() -> None:
    view = FederationView(Topics("lab"), max_devices=3, max_rounds=5, max_cells=6)
    lab = Speaker(view)
    for name in "abcdef":
        lab.status(name)
    assert sorted(view.devices) == ["a", "b", "c"]
    for number in range(1, 10):
        lab.announce(number, "a", "b", "c")
        for name in "abc":
            lab.ready(name, number, 0.5, 0.5)
            lab.failed(name, number, "x" * 200)
        lab.close(number, 3, 3, norms={"a": 1.0})
    assert list(view.rounds) == [5, 6, 7, 8, 9]
    assert [len(here.cells) for here in view.rounds.values()] == [0, 0, 0, 3, 3]
    for _ in range(2000):
        lab.control(DesiredState.PAUSE)
        lab.control(DesiredState.RUN)
    assert len(view.log.since(0)) == 1000
    assert view.log.count > 4000


def test_revisions_say_what_has_changed() -> None:
    lab = Speaker()
    lab.announce(1, "a", "b")
    before = lab.view.revision
    lab.progress("b", 1)
    assert [n for n, d in lab.view.devices.items() if d.revision > before] == ["b"]
    assert [n for n, r in lab.view.rounds.items() if r.revision > before] == []
    lab.ready("b", 1, 0.5, 0.5)
    assert [n for n, r in lab.view.rounds.items() if r.revision > before] == [1]


def test_an_old_announcement_said_again_takes_nothing_away() -> None:
    lab = Speaker()
    for number in (1, 2, 3):
        lab.announce(number, "a", epoch=7)
        lab.close(number, 1, 1)
    lab.announce(1, "a", epoch=7)
    lab.announce(9, "a", epoch=6)
    assert list(lab.view.rounds) == [1, 2, 3]
    assert all(here.is_closed for here in lab.view.rounds.values())
    assert lab.view.ignored[RejectReason.LATE] == 2


def test_what_the_federation_was_to_do_in_an_earlier_life_does_not_count() -> None:
    lab = Speaker()
    lab.say(lab.view.topics.control, Control(DesiredState.RUN, 8))
    lab.say(lab.view.topics.control, Control(DesiredState.STOP, 7))
    assert lab.view.desired is DesiredState.RUN
    assert lab.view.ignored[RejectReason.LATE] == 1


def test_old_numbers_said_again_cost_the_newest_rounds_nothing() -> None:
    view = FederationView(Topics("lab"), max_rounds=2, max_cells=4)
    lab = Speaker(view)
    for number in (5, 6):
        lab.announce(number, "a", "b")
        lab.close(number, 2, 2, norms={"a": 1.0, "b": 1.0})
    for number in (1, 2, 3, 4) * 3:
        lab.close(number, 2, 2, norms={"a": 1.0, "b": 1.0})
    assert [len(here.cells) for here in view.rounds.values()] == [2, 2]


def test_devices_that_were_only_asked_count_as_kept_too() -> None:
    view = FederationView(Topics("lab"), max_cells=6)
    lab = Speaker(view)
    for number in range(1, 6):
        lab.announce(number, "a", "b", "c")
    assert [len(here.selected) for here in view.rounds.values()] == [0, 0, 0, 3, 3]


def test_one_device_does_not_fill_the_log() -> None:
    now = [1000.0]
    lab = Speaker(FederationView(Topics("lab"), clock=lambda: now[0]))
    lab.announce(1, "good", "bad")
    lab.rejected("good", 1, RejectReason.NOT_FINITE, "a NaN")
    for count in range(2000):
        lab.status("bad", Presence.OFFLINE if count % 2 else Presence.ONLINE)
        lab.failed("bad", 1, f"failure {count}")
    entries = lab.view.log.since(0)
    assert any(entry.kind is Kind.REJECTED for entry in entries), "it was washed away"
    assert 10 <= sum(entry.device == "bad" for entry in entries) <= 50
    assert "bad says more than is written down" in entries[-1].text
    assert lab.view.devices["bad"].failures == 2000
    now[0] += 3600.0
    lab.failed("bad", 1, "much later")
    assert lab.view.log.since(0)[-1].text == "much later"
