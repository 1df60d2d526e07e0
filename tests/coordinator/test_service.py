"""A real coordinator on an in-memory broker; the test plays the devices by hand."""

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny_bundle
from coordinator_lab import TOPICS, Lab, begin, finish, nan, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import key_of, signed

from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_protocol import (
    Accepted,
    ConfigurationError,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Encoding,
    Evaluated,
    Grant,
    LocalReport,
    NotAdmitted,
    PhaseProgress,
    Presence,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundHistory,
    TrainableSet,
    UpdateReady,
    describe_transfer,
    encode_message,
    open_message,
    seal_tensors,
    split_chunks,
)
from pfedfrz_transport import BrokerUnreachable, MemoryLink


def test_a_federation_from_its_first_round_to_its_end(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2, evaluate=True)
    assert (first.round, first.purpose, first.model.version) == (1, Purpose.TRAIN, 0)
    assert first.bundle == lab.bundle.manifest.digest
    for name, tensor in a.fetch(first).items():
        np.testing.assert_array_equal(tensor, lab.initial[name])
    online = open_message(lab.broker.retained()[TOPICS.coordinator_status], CoordinatorStatus)
    assert (online.presence, online.epoch) == (Presence.ONLINE, first.epoch)

    a.tell(PhaseProgress(1, 0, 2, TrainableSet.PERSONAL, 0, 1, 0.5))
    payload = seal_tensors(
        lab.codec.encode(lab.moved(1.0), a.label(first, samples=10)), key_of("a")
    )
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    heavier = seal_tensors(
        lab.codec.encode(
            lab.moved(4.0), b.label(first, samples=30), Encoding.DELTA_FLOAT16, lab.initial
        ),
        key_of("b"),
    )
    assert b.deliver(first, heavier) == Accepted(1, first.epoch)

    second = a.expect(RoundAnnouncement)
    assert (second.round, second.model.version) == (2, 1)
    model = b.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + (10 * 1 + 30 * 4) / 40, rtol=1e-6)
    metrics = lab.metrics()
    assert (metrics.round, metrics.selected, metrics.accepted, metrics.missing) == (1, 2, 2, 0)
    assert (metrics.received_mean, metrics.local_mean) == (0.25, 0.75)
    assert metrics.uplink_bytes == len(payload) + len(heavier)
    assert metrics.downlink_bytes == 200
    assert metrics.update_norms["a"] == pytest.approx(15**0.5, rel=1e-4)

    assert b.expect(RoundAnnouncement) == second
    for device in (a, b):
        same = seal_tensors(lab.codec.encode(model, device.label(second)), key_of(device.name))
        assert device.deliver(second, same) == Accepted(2, second.epoch)
    third = a.expect(RoundAnnouncement)
    assert (third.round, third.purpose) == (3, Purpose.EVALUATE)
    for device, received in ((a, 0.5), (b, 0.7)):
        device.tell(Evaluated(3, third.epoch, "boot", LocalReport(10, received)))
    metrics = finish(lab, life)
    assert (metrics.round, metrics.purpose, metrics.accepted) == (3, Purpose.EVALUATE, 0)
    assert metrics.received_mean == pytest.approx(0.6)
    assert a.expect(Control).desired is DesiredState.STOP
    retained = lab.broker.retained()
    assert not [topic for topic in retained if topic.startswith("pfedfrz-bin/")]
    assert TOPICS.round not in retained
    offline = open_message(retained[TOPICS.coordinator_status], CoordinatorStatus)
    assert offline.presence is Presence.OFFLINE


def test_the_order_of_delivery_does_not_change_a_bit(tmp_path: Path) -> None:
    digests = set()
    for order in ("ab", "ba"):
        lab = Lab(tmp_path / order, tiny_bundle.make_bundle())
        _, a, b, first = begin(lab, rounds=2)
        devices = {"a": a, "b": b}
        for name in order:
            step = {"a": 0.1, "b": 0.7}[name]
            device = devices[name]
            assert device.deliver(first, lab.payload(device, first, step)) == Accepted(
                1, first.epoch
            )
        digests.add(a.expect(RoundAnnouncement).model.digest)
        lab.close()
    assert len(digests) == 1


# Faults of the coordinator and of the broker


def test_restarted_in_mid_round_it_keeps_what_was_accepted_and_asks_only_the_others(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.deliver(first, lab.payload(a, first, 1.0))
    life.end()
    assert life.finished is False
    life = lab.coordinator(rounds=2)
    again = b.expect(RoundAnnouncement)
    assert (again.round, again.model) == (1, first.model)
    assert again.epoch > first.epoch
    assert again.selected == ("b",)
    b.deliver(again, lab.payload(b, again, 3.0))
    second = a.expect(RoundAnnouncement)
    while second.round == 1:
        second = a.expect(RoundAnnouncement)
    model = a.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 2.0, rtol=1e-6)
    assert lab.metrics().accepted == 2
    assert (lab.metrics().received_mean, lab.metrics().local_mean) == (0.25, 0.75)


def test_an_accepted_device_that_asks_again_after_the_restart_hears_that_it_is_accepted(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.deliver(first, payload)
    life.end()
    lab.coordinator()
    again = b.expect(RoundAnnouncement)
    a.offer(again, payload)
    assert a.expect(Accepted) == Accepted(1, again.epoch)


def test_an_offer_that_comes_while_a_restarted_coordinator_waits_for_devices_is_not_lost(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    life.end()
    b.say(Presence.OFFLINE)
    life = lab.coordinator()
    wait_for(lambda: life.link.is_up)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)  # trained under the old announcement, which still stands
    heard = a.quiet()
    b.say(Presence.ONLINE)
    again = next((m for m in heard if isinstance(m, RoundAnnouncement)), None)
    if again is None:
        # A device that hears a verdict before it hears of the new epoch drops its update.
        assert [m for m in heard if isinstance(m, Rejected)] == []
        again = a.expect(RoundAnnouncement)
    else:
        assert not any(isinstance(m, Rejected) for m in heard[: heard.index(again)])
    assert again.round == 1
    assert again.epoch > first.epoch
    assert a.deliver(again, payload) == Accepted(1, again.epoch)


def test_restarted_between_rounds_it_goes_on_with_the_next(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    second = a.expect(RoundAnnouncement)
    life.end()
    lab.coordinator(rounds=2)
    again = a.expect(RoundAnnouncement)
    assert (again.round, again.model) == (2, second.model)
    assert again.epoch > second.epoch
    a.fetch(again)


def test_the_rounds_so_far_are_told_at_every_close_and_again_by_the_next_life(lab: Lab) -> None:
    def told() -> RoundHistory:
        return open_message(lab.broker.retained()[TOPICS.history], RoundHistory)

    life, a, b, first = begin(lab, rounds=2)
    assert told() == RoundHistory(())
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    a.expect(RoundAnnouncement)
    before = told()
    assert [(brief.round, brief.accepted) for brief in before.rounds] == [(1, 2)]
    assert lab.metrics().update_cosines == pytest.approx({"a": 1.0, "b": 1.0}, abs=1e-6)
    life.end()
    for topic in list(lab.broker.retained()):
        a.link.clear_retained(topic)
    wait_for(lambda: TOPICS.history not in lab.broker.retained())
    lab.coordinator(rounds=2)
    wait_for(lambda: TOPICS.history in lab.broker.retained())
    assert told() == before


def test_started_again_after_its_end_it_ends_at_once(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    finish(lab, life)
    assert lab.coordinator().result() is True
    assert lab.metrics().round == 1


@pytest.mark.parametrize("forget", [False, True], ids=["broker restarted", "broker killed"])
def test_a_broker_that_goes_away_in_mid_upload_costs_no_update(
    large_lab: Lab, forget: bool
) -> None:
    lab = large_lab
    life, a, b, first = begin(lab, rounds=2)
    assert b.deliver(first, lab.payload(b, first, 3.0)) == Accepted(1, first.epoch)
    payload = lab.payload(a, first, 1.0)
    assert len(split_chunks(payload)) == 4
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 0, 1)
    lab.broker.stop(forget=forget)
    lab.broker.start()
    wait_for(lambda: TOPICS.round in lab.broker.retained())
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    second = a.expect(RoundAnnouncement)
    while second.round == 1:
        second = a.expect(RoundAnnouncement)
    model = a.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 2.0, rtol=1e-6)
    assert life.alive
    assert lab.rejects() == {}


def test_a_device_that_comes_back_in_mid_upload_begins_again(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 3, 1)
    assert a.deliver(first, payload) == Accepted(1, first.epoch)


def test_chunks_may_come_in_any_order_and_twice(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    for chunk in (2, 2, 0, 3, 0):
        a.upload(1, payload, chunk)
    assert a.quiet() == []
    a.upload(1, payload, 1)
    assert a.expect(Accepted) == Accepted(1, first.epoch)


def test_a_broker_that_does_not_answer_is_said_in_time(lab: Lab) -> None:
    lab.broker.stop()
    with pytest.raises(BrokerUnreachable):
        lab.coordinator(connect=False).result()


def test_state_of_another_bundle_is_refused_before_anything_is_published(lab: Lab) -> None:
    begin(lab)[0].end()
    published = len(lab.broker.captured)
    lab.bundle = tiny_bundle.make_bundle(seed=1)
    with pytest.raises(ConfigurationError, match="another bundle"):
        lab.coordinator().result()
    assert len(lab.broker.captured) == published


# Devices that die, are slow, or have another bundle


def test_a_device_that_dies_is_noted_and_the_round_goes_on_after_its_deadline(lab: Lab) -> None:
    life, a, b, first = begin(lab, deadline_s=50.0, quorum=0.5)
    a.deliver(first, lab.payload(a, first, 1.0))
    b.say(Presence.OFFLINE)
    wait_for(lambda: "b went away while pending" in lab.notes())
    life.after(50.0)
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.missing) == (1, 1)
    assert "deadline passed without b" in lab.notes()


def test_a_device_that_waits_in_mid_round_may_deliver_and_is_not_asked_next(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    b.say(Presence.WAITING, waiting_for="power: not on mains")
    wait_for(lambda: "b waits (power: not on mains) while pending" in lab.notes())
    life.after(2.0)
    registry = Registry(lab.disk)
    try:
        wait_for(lambda: (row := registry.find("b")) is not None and "mains" in row.waiting_for)
        b.deliver(first, lab.payload(b, first, 1.0))
        a.deliver(first, lab.payload(a, first, 3.0))
        second = a.expect(RoundAnnouncement)
        assert (second.round, second.selected) == (2, ("a",))
        b.say(Presence.ONLINE)
        life.after(2.0)
        wait_for(lambda: (row := registry.find("b")) is not None and not row.waiting_for)
    finally:
        registry.close()
    a.deliver(second, lab.payload(a, second, 1.0))
    assert finish(lab, life).accepted == 1


def test_below_the_quorum_the_round_is_opened_again_and_nothing_is_lost(lab: Lab) -> None:
    life, a, b, first = begin(lab, deadline_s=50.0, quorum=1.0)
    a.deliver(first, lab.payload(a, first, 1.0))
    life.after(50.0)
    again = b.expect(RoundAnnouncement)
    assert (again.round, again.selected) == (1, ("b",))
    assert again.epoch > first.epoch
    b.deliver(again, lab.payload(b, again, 3.0))
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.selected) == (2, 2)


def test_a_device_that_says_it_failed_is_not_waited_for(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    b.tell(RoundFailed(1, first.epoch, "boot", "no space left"))
    wait_for(lambda: lab.statuses()["b"] == "failed")
    a.deliver(first, lab.payload(a, first, 1.0))
    metrics = finish(lab, life)
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert "no space left" in lab.notes()


def test_what_arrives_after_its_grant_expired_counts_for_the_journal_and_the_model_alike(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab, uploads_at_once=1, grant_timeout_s=5.0, deadline_s=50.0)
    late = lab.payload(a, first, 1.0)
    a.offer(first, late)
    a.expect(Grant)
    b.offer(first, lab.payload(b, first, 3.0))
    life.after(5.0)
    b.expect(Grant)
    a.upload(1, late)
    assert a.quiet() == []
    b.upload(1, lab.payload(b, first, 3.0))
    b.expect(Accepted)
    life.after(50.0)
    metrics = finish(lab, life)
    # Whatever the journal calls accepted is what the next model is made of, and nothing else.
    assert lab.statuses()["b"] == "accepted"
    assert lab.statuses()["a"] != "accepted"
    assert metrics.accepted == 1
    assert list(metrics.update_norms) == ["b"]


def test_a_device_without_samples_is_not_selected_until_it_has_some(lab: Lab) -> None:
    empty = lab.device("c")
    empty.say(Presence.ONLINE, samples=0)
    life, a, b, first = begin(lab, rounds=2)
    assert first.selected == ("a", "b")
    empty.say(Presence.ONLINE, samples=1)
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    second = a.expect(RoundAnnouncement)
    assert second.selected == ("a", "b", "c")
    for device in (a, b, empty):
        device.deliver(second, lab.payload(device, second, 1.0))
    assert finish(lab, life).accepted == 3


def test_a_device_with_another_bundle_is_left_out(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stranger = lab.device("c", bundle="e" * 64)
        _, a, _, first = begin(lab)
    assert first.selected == ("a", "b")
    assert "c has another bundle" in caplog.text
    stranger.offer(first, lab.payload(stranger, first, 1.0))
    assert not any(isinstance(m, Grant | Accepted) for m in stranger.quiet())
    assert set(lab.statuses()) == {"a", "b"}
    assert a.quiet() == []


def test_a_device_whose_status_is_cleared_is_gone(lab: Lab) -> None:
    gone = lab.device("gone")
    gone.link.clear_retained(TOPICS.device("gone", "status"))
    life = lab.coordinator()
    wait_for(lambda: life.link.is_up)
    _, b = lab.device("a"), lab.device("b")
    assert b.expect(RoundAnnouncement).selected == ("a", "b")


# Who may take part


def test_a_device_that_keeps_failing_is_quarantined_and_the_round_goes_on(lab: Lab) -> None:
    life, a, b, round_ = begin(lab, rounds=20, quorum=0.4)
    for _ in range(5):
        bad = nan(lab, a, round_)
        verdict = a.deliver(round_, bad)
        assert isinstance(verdict, Rejected)
        good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
        assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
        round_ = b.expect(RoundAnnouncement)
    word = a.expect(NotAdmitted)
    assert word.reason is RejectReason.QUARANTINED
    assert "5 failures in a row, the last: not-finite" in word.detail
    good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
    assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
    assert b.expect(RoundAnnouncement).selected == ("b",)
    Registry(lab.disk).readmit("a")
    assert "a is kept out: 5 failures in a row" in lab.notes()
    life.after(2.0)
    wait_for(lambda: life.service._engine.is_present("a"))


def test_chunks_that_a_stranger_put_among_a_devices_own_are_not_held_against_it(
    large_lab: Lab,
) -> None:
    lab = large_lab
    _, a, b, round_ = begin(lab, rounds=20, quorum=0.4)
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    for _ in range(6):
        payload = lab.payload(a, round_, 1.0)
        a.offer(round_, payload)
        a.expect(Grant)
        chunks = split_chunks(payload)
        stranger.publish(TOPICS.update_chunk("a", round_.round, 0), bytes(len(chunks[0])))
        a.upload(round_.round, payload, 1, 2, 3)
        assert a.expect(Rejected).reason is RejectReason.WRONG_DIGEST
        good = seal_tensors(lab.codec.encode(b.fetch(round_), b.label(round_)), key_of("b"))
        assert b.deliver(round_, good) == Accepted(round_.round, round_.epoch)
        round_ = b.expect(RoundAnnouncement)
    row = Registry(lab.disk).find("a")
    assert row is not None
    assert (row.standing, row.failures) == (Standing.ENROLLED, 0)
    stranger.close()


def test_a_revoked_device_is_heard_no_more_and_a_replayed_upload_changes_nothing(
    lab: Lab,
) -> None:
    life, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    assert a.deliver(first, payload) == Accepted(1, first.epoch)
    before = lab.journal().members(1)
    a.offer(first, payload)
    assert a.expect(Accepted) == Accepted(1, first.epoch)
    a.upload(1, payload)
    assert lab.journal().members(1) == before
    Registry(lab.disk).revoke("a")
    life.after(2.0)
    wait_for(lambda: "a is kept out: by command" in lab.notes())
    a.offer(first, payload)
    assert not [m for m in a.quiet() if not isinstance(m, NotAdmitted)]
    wait_for(lambda: life.service.ignored[RejectReason.REVOKED] > 0)
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)


def test_a_flood_on_one_name_does_not_slow_the_others(lab: Lab) -> None:
    life, a, b, first = begin(lab, quotas=QuotaPolicy(burst_messages=20))
    for _ in range(100):
        a.link.publish(TOPICS.device("a", "event"), b"x", qos=0)
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)
    wait_for(lambda: life.service.ignored[RejectReason.QUOTA_EXCEEDED] > 0)


# Strangers


def test_chunks_that_nobody_asked_for_change_nothing(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    c = lab.device("c")
    payload = lab.payload(a, first, 5.0)
    a.upload(1, payload)  # not offered
    c.upload(1, payload)  # not selected
    a.upload(9, payload)  # no such round
    for device in (a, b):
        assert device.deliver(first, lab.payload(device, first, 1.0)) == Accepted(1, first.epoch)
    model = b.fetch(b.expect(RoundAnnouncement))
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 1.0, rtol=1e-6)
    assert lab.rejects() == {}
    assert life.alive


def _changed(payload: bytes) -> st.SearchStrategy[bytes]:
    """A valid message, some of whose bytes are others."""

    def change(flips: list[tuple[int, int]]) -> bytes:
        content = bytearray(payload)
        for position, flip in flips:
            content[position] ^= flip
        return bytes(content)

    position = st.integers(0, len(payload) - 1)
    flips = st.lists(st.tuples(position, st.integers(1, 255)), min_size=1, max_size=4)
    return flips.map(change)


LEAVES = st.sampled_from(["status", "event"])


def test_bytes_that_are_no_message_are_counted_and_never_raise(lab: Lab) -> None:
    life, a, b, first = begin(lab)
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    sent = 0

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(LEAVES, st.binary(min_size=1, max_size=300))
    def send(leaf: str, payload: bytes) -> None:
        nonlocal sent
        stranger.publish(TOPICS.device("x", leaf), payload)
        sent += 1

    send()
    wait_for(lambda: sum(life.service.ignored.values()) == sent)
    assert set(life.service.ignored) <= {RejectReason.NOT_SIGNED, RejectReason.NOT_ENROLLED}
    for device in (a, b):
        assert device.deliver(first, lab.payload(device, first, 1.0)) == Accepted(1, first.epoch)
    assert finish(lab, life).accepted == 2
    stranger.close()


def test_a_message_of_any_length_is_bounded(lab: Lab) -> None:
    life, a, _, _ = begin(lab)
    a.link.close()
    nested = b"[" * 500_000
    huge = MemoryLink(lab.broker, "huge", largest_packet_bytes=16 << 20)
    huge.start()
    huge.publish(TOPICS.device("x", "event"), nested)
    huge.publish(TOPICS.device("x", "status"), bytes(5 << 20))
    wait_for(lambda: sum(life.service.ignored.values()) == 2)
    assert life.service.ignored[RejectReason.TOO_LARGE] == 1
    huge.close()


def test_no_message_on_any_topic_ends_the_process(lab: Lab) -> None:
    life, a, b, first = begin(lab, participants=2)
    payload = lab.payload(a, first, 1.0)
    digest = lab.bundle.manifest.digest
    report = LocalReport(10, 0.5, 0.5, 1.0)
    offer = UpdateReady(1, first.epoch, "boot", digest, describe_transfer(payload), report)
    valid: dict[str, list[msgspec.Struct]] = {
        "status": [
            DeviceStatus(Presence.ONLINE, "boot", digest, "onnxruntime", 10, key_of("x").public)
        ],
        "event": [
            offer,
            Evaluated(1, first.epoch, "boot", report),
            RoundFailed(1, first.epoch, "boot", "no"),
            PhaseProgress(1, 0, 2, TrainableSet.ALL, 0, 1, None),
        ],
    }
    texts = LEAVES.flatmap(
        lambda leaf: st.tuples(
            st.sampled_from(["a", "x", "y"]).map(lambda name: TOPICS.device(name, leaf)),
            st.sampled_from(valid[leaf]).flatmap(
                lambda m: st.just(encode_message(m)) | _changed(encode_message(m))
            )
            | st.binary(max_size=50),
        )
    )
    by_members = st.sampled_from(["a", "x", "y"]).flatmap(
        lambda name: LEAVES.flatmap(
            lambda leaf: st.tuples(
                st.just(TOPICS.device(name, leaf)),
                st.sampled_from(valid[leaf]).flatmap(
                    lambda m: (
                        st.just(signed(m, TOPICS.device(name, leaf), name))
                        | _changed(signed(m, TOPICS.device(name, leaf), name))
                    )
                ),
            )
        )
    )
    chunks = st.tuples(
        st.builds(
            TOPICS.update_chunk, st.sampled_from(["a", "x"]), st.integers(0, 3), st.integers(0, 3)
        ),
        st.just(payload) | _changed(payload) | st.binary(max_size=50),
    )
    odd = st.tuples(
        st.sampled_from(
            [
                "pfedfrz-bin/v1/lab/device/a/update/1/x",
                "pfedfrz-bin/v1/lab/device/a/update/1/99999999999",
                "pfedfrz-bin/v1/lab/device/é/update/1/0",
                "pfedfrz/v1/lab/device/-/status",
            ]
        ),
        st.binary(max_size=50),
    )
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(texts | by_members | chunks | odd, max_size=6))
    def send(messages: list[tuple[str, bytes]]) -> None:
        for topic, content in messages:
            stranger.publish(topic, content)
        assert life.alive

    send()
    # A round later it is as good as ever: whatever was made of device a, b is served.
    again = first
    for message in b.quiet():
        if isinstance(message, RoundAnnouncement):
            again = message
    assert b.deliver(again, lab.payload(b, again, 1.0)) == Accepted(1, again.epoch)
    assert life.fault is None
    stranger.close()


# A person's wishes


def test_paused_it_opens_no_round_until_it_is_resumed(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    life.service.request(DesiredState.PAUSE)
    wait_for(
        lambda: (
            open_message(lab.broker.retained()[TOPICS.control], Control).desired
            is DesiredState.PAUSE
        )
    )
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    assert not [m for m in a.quiet() if isinstance(m, RoundAnnouncement)]
    life.service.request(DesiredState.RUN)
    assert a.expect(RoundAnnouncement).round == 2


def test_stopped_it_tells_everybody_and_ends(lab: Lab) -> None:
    life, a, _, _ = begin(lab, rounds=5)
    life.service.request(DesiredState.STOP)
    assert life.result() is True
    while (control := a.expect(Control)).desired is not DesiredState.STOP:
        pass
    assert control.desired is DesiredState.STOP
    assert TOPICS.round not in lab.broker.retained()


def test_interrupted_it_ends_but_the_federation_goes_on(lab: Lab) -> None:
    life, _, _, _ = begin(lab)
    life.end()
    assert life.finished is False
    retained = lab.broker.retained()
    assert TOPICS.round in retained
    assert open_message(retained[TOPICS.control], Control).desired is DesiredState.RUN


def test_a_coordinator_that_vanishes_is_offline_by_its_will_and_online_when_it_is_back(
    lab: Lab,
) -> None:
    begin(lab)

    def presence() -> Presence:
        payload = lab.broker.retained()[TOPICS.coordinator_status]
        return open_message(payload, CoordinatorStatus).presence

    assert presence() is Presence.ONLINE
    lab.broker.drop("coordinator", stay_away=True)
    assert presence() is Presence.OFFLINE
    lab.broker.let_in("coordinator")
    assert presence() is Presence.ONLINE
