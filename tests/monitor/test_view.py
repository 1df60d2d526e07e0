"""The picture of a federation that its messages give."""

from __future__ import annotations

import pytest
from federation_messages import Speaker
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_monitor import FederationView, Kind
from pfedfrz_protocol import (
    BundleInstalled,
    BundleRefused,
    Presence,
    Purpose,
    RejectReason,
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
