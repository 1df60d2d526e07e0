"""A real device on an in-memory broker; the test plays the coordinator by hand."""

import logging
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from device_lab import EPOCH, PATIENCE_S, TOPICS, Lab, assert_same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import COORDINATOR, key_of, signed
from numpy.typing import NDArray

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.model_store import ModelStore
from pfedfrz_edge.outbox import Outbox
from pfedfrz_edge.status.round_history import RoundHistory
from pfedfrz_edge.status.running_status import read_status
from pfedfrz_protocol import (
    Control,
    DesiredState,
    DeviceStatus,
    Evaluated,
    Grant,
    Group,
    ModelReference,
    Parameters,
    Presence,
    Purpose,
    RoundAnnouncement,
    RoundFailed,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import MemoryLink


def test_two_rounds_from_birth_to_goodbye(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    personal: Parameters | None = None
    for number in (1, 2):
        coordinator.open(number)
        label, tensors = lab.decoded(coordinator.settle(number))
        expected = lab.alone(number, personal)
        base = tensors_digest(coordinator.model(number - 1))
        assert label == UpdateLabel("me", "boot-1", number, 40, base)
        assert_same(tensors, expected.shared)
        lab.wait_for_state("idle")
        assert Outbox(lab.disk).get() is None
        assert lab.stored().round == number
        assert_same(lab.stored().weights, expected.personal)
        personal = expected.personal
    digest = lab.bundle.manifest.digest
    key = key_of("me").public
    online = DeviceStatus(Presence.ONLINE, "boot-1", digest, "onnxruntime", 40, key)
    assert lab.status() == online
    coordinator.control(DesiredState.STOP)
    device.thread.join(PATIENCE_S)
    assert not device.alive
    assert lab.status().presence is Presence.OFFLINE


def test_the_offer_reports_what_was_measured_and_downloaded(lab: Lab) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    alone = lab.alone(1).report
    assert (ready.report.received, ready.report.local) == (alone.received, alone.local)
    assert ready.report.loss == alone.loss
    assert ready.report.downloaded_bytes >= len(coordinator.payload(0))
    assert ready.boot_id == "boot-1"


def test_no_personal_byte_is_published(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    needles = [
        weight.ravel()[:8].tobytes()
        for weights in (lab.stored().weights, lab.bundle.initial_weights(Group.PERSONAL))
        for weight in weights.values()
    ]
    with lab.broker.lock:
        payloads = [c.payload for c in lab.broker.captured]
    shared = lab.alone(1).shared["head.bias"].tobytes()
    assert any(shared in payload for payload in payloads)  # the search does find what is there
    assert not any(needle in payload for needle in needles for payload in payloads)


def test_a_newer_round_calls_the_running_work_off(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            reached.set()
            assert go_on.wait(PATIENCE_S)
        elif step <= 12:
            time.sleep(0.05)  # far longer in all than the agent needs to call it off

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    coordinator.open(2)
    go_on.set()
    label, _ = lab.decoded(coordinator.settle(2))  # the first offer that comes is round 2's
    assert (label.round, label.base) == (2, tensors_digest(coordinator.model(1)))
    assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    assert lab.stored().round == 2
    assert device.runtime.steps < 2 * 12  # of the twelve steps of round 1 not all were made


def test_superseded_in_a_long_batch_it_stays_alive_and_never_works_twice_at_once(
    lab: Lab,
) -> None:
    coordinator, device = lab.coordinator, lab.device()
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            reached.set()
            assert go_on.wait(PATIENCE_S)

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    for number in (2, 3):
        coordinator.open(number)
        deadline = time.monotonic() + 5
        while ("working", number) not in [(b.state, b.round) for b in lab.beats()]:
            assert time.monotonic() < deadline, "it waits for the batch and is silent"
            time.sleep(0.01)
    time.sleep(0.1)
    assert device.runtime.steps == 2
    go_on.set()
    label, _ = lab.decoded(coordinator.settle(3))
    assert label.round == 3
    assert lab.stored().round == 3


def files_but_those_for_people(folder: Path) -> dict[str, bytes]:
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    return {name: found[name] for name in found.keys() - {"status.json", "rounds.json"}}


def test_an_evaluation_is_answered_and_nothing_is_uploaded_or_kept(lab: Lab) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    before = files_but_those_for_people(lab.disk)
    coordinator.open(2, purpose=Purpose.EVALUATE)
    answer = coordinator.expect(Evaluated)
    assert (answer.round, answer.epoch, answer.boot_id) == (2, EPOCH, "boot-1")
    assert answer.report.received is not None
    coordinator.quiet()
    assert coordinator.chunks == []
    assert files_but_those_for_people(lab.disk) == before


def test_work_that_breaks_is_told_and_the_next_round_works(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()

    def fail(step: int) -> None:
        if step == 3:
            raise RuntimeError("out of kernels")

    device.runtime.hook = fail
    coordinator.open(1)
    failure = coordinator.expect(RoundFailed)
    assert (failure.round, failure.epoch) == (1, EPOCH)
    assert failure.detail == "RuntimeError: out of kernels"
    coordinator.open(2)
    coordinator.settle(2)


def test_a_coordinator_with_another_bundle_is_ignored(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.publish_model(0)
    with caplog.at_level(logging.WARNING):
        coordinator.announce(coordinator.announcement(1, bundle="f" * 64))
        assert coordinator.quiet() == []
    assert "another bundle" in caplog.text
    assert device.runtime.steps == 0
    assert set(lab.states()) == {"idle"}


def test_not_selected_it_does_nothing(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.publish_model(0)
    coordinator.announce(coordinator.announcement(1, selected=("you",)))
    assert coordinator.quiet() == []
    assert device.runtime.steps == 0


def _flipped(payload: bytes) -> st.SearchStrategy[bytes]:
    """A valid message with some of its bytes changed."""
    changes = st.lists(
        st.tuples(st.integers(0, len(payload) - 1), st.integers(1, 255)), min_size=1, max_size=4
    )

    def change(flips: list[tuple[int, int]]) -> bytes:
        content = bytearray(payload)
        for position, flip in flips:
            content[position] ^= flip
        return bytes(content)

    return changes.map(change)


def test_no_bytes_on_any_topic_end_the_process(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    model = ModelReference(1, "a" * 64, TransferReference(1000, "b" * 64))
    mine = lab.bundle.manifest.digest
    valid = {
        TOPICS.round: RoundAnnouncement(1, 1, mine, Purpose.TRAIN, model, ("me",), 60.0),
        TOPICS.control: Control(DesiredState.PAUSE, 1),
        TOPICS.device("me", "command"): Grant(1, 1),
    }
    texts = st.sampled_from(sorted(valid)).flatmap(
        lambda topic: st.tuples(
            st.just(topic),
            st.binary(max_size=300) | _flipped(signed(valid[topic], topic, COORDINATOR)),
        )
    )
    chunks = st.tuples(
        st.sampled_from([TOPICS.model_chunk(1, 0), TOPICS.model_chunk(1, 7)]),
        st.binary(max_size=300) | st.just(bytes(1000)),
    )
    coordinator.announce(valid[TOPICS.round])  # type: ignore[arg-type]
    lab.wait_for_state("fetching")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(texts | chunks, max_size=5))
    def send(messages: list[tuple[str, bytes]]) -> None:
        for topic, payload in messages:
            coordinator.link.publish(topic, payload)
            while coordinator.link.poll(0):
                pass
        assert device.alive

    send()
    coordinator.open(5, epoch=10**6)
    coordinator.settle(5, epoch=10**6)
    assert device.alive


@pytest.mark.parametrize("chunks", [[0], [1], [0, 1, 2]])
def test_a_strangers_chunks_do_not_keep_it_from_the_model(lab: Lab, chunks: list[int]) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.announce(coordinator.announcement(1))
    lab.wait_for_state("fetching")
    stranger = MemoryLink(lab.broker, "stranger")
    stranger.start()
    right = split_chunks(coordinator.payload(0))
    for number in range(40):
        stranger.publish(TOPICS.model_chunk(0, number), b"wrong length")
        stranger.publish(TOPICS.model_chunk(7, number % 3), right[number % 3])
    for number in chunks:  # the right length, at the right place, and before the real one
        stranger.publish(TOPICS.model_chunk(0, number), bytes(len(right[number])))
    coordinator.publish_model(0)
    _, tensors = lab.decoded(coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)
    stranger.close()


def test_a_model_that_stays_wrong_is_not_fetched_for_ever(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    wrong = [
        (TOPICS.model_chunk(0, n), bytes(len(chunk)))
        for n, chunk in enumerate(split_chunks(coordinator.payload(0)))
    ]
    coordinator.link.publish_bulk(wrong, tag="wrong", retained=True)
    coordinator.announce(coordinator.announcement(1))
    lab.wait_for_state("fetching")
    coordinator.quiet(0.3)
    before = device.link.traffic.received_bytes
    coordinator.quiet(0.3)
    assert device.link.traffic.received_bytes == before
    assert device.runtime.steps == 0
    coordinator.link.drop_bulk("wrong")
    coordinator.publish_model(0)
    coordinator.settle(1)


class Growing:
    """A feed that a test fills."""

    def __init__(self, data: LocalData) -> None:
        self.whole = data
        self.samples = 0

    def latest(self) -> LocalData:
        train = LabelledData(self.whole.train.x[: self.samples], self.whole.train.y[: self.samples])
        return LocalData(train, self.whole.test, self.whole.classes)


def wait_for_samples(lab: Lab, samples: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    topic = TOPICS.device("me", "status")
    while topic not in lab.broker.retained() or lab.status().samples != samples:
        assert time.monotonic() < deadline, f"never {samples} samples"
        time.sleep(0.01)


def test_a_device_without_samples_waits_for_the_first_and_says_how_many_there_are(lab: Lab) -> None:
    whole, feed = lab.data, Growing(lab.data)
    lab.data = feed  # type: ignore[assignment]
    device = lab.device()
    wait_for_samples(lab, 0)
    lab.coordinator.open(1)
    failed = lab.coordinator.expect(RoundFailed)
    assert failed.detail == "no samples yet"
    feed.samples = 25  # found at a heartbeat
    wait_for_samples(lab, 25)
    assert lab.status().presence is Presence.ONLINE
    feed.samples = 40  # found before the work of a round
    lab.coordinator.open(2)
    label, _ = lab.decoded(lab.coordinator.settle(2))
    assert label.samples == 40
    wait_for_samples(lab, 40)
    feed.samples = 0  # all were taken away: not trained on any more
    lab.coordinator.open(3)
    assert lab.coordinator.expect(RoundFailed).round == 3
    wait_for_samples(lab, 0)
    assert device.alive
    lab.data = whole


def test_of_which_classes_the_samples_are_is_told_if_the_owner_wants_it(lab: Lab) -> None:
    whole, feed = lab.data, Growing(lab.data)
    lab.data = feed  # type: ignore[assignment]
    feed.samples = 5
    lab.settings = msgspec.structs.replace(lab.settings, share_label_mix=True)
    device = lab.device()
    wait_for_samples(lab, 5)
    assert lab.status().label_counts == counted(whole.train.y[:5])
    feed.samples = 40
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    wait_for_samples(lab, 40)
    assert lab.status().label_counts == counted(whole.train.y[:40])
    # As many as before, and others.
    swapped = LabelledData(whole.train.x, (whole.train.y + 1) % whole.classes)
    feed.whole = LocalData(swapped, whole.test, whole.classes)
    lab.coordinator.open(2)
    lab.coordinator.settle(2)
    deadline = time.monotonic() + PATIENCE_S
    while lab.status().label_counts != counted(swapped.y[:40]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert lab.status().samples == 40
    assert device.alive
    lab.data = whole


def counted(labels: NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(int((labels == label).sum()) for label in range(3))


def test_by_default_no_class_is_told(lab: Lab) -> None:
    lab.device()
    wait_for_samples(lab, 40)
    assert lab.status().label_counts == ()
    assert b"label_counts" not in lab.broker.retained()[TOPICS.device("me", "status")]


# When the device may train, and what it has then


def test_a_device_that_may_not_train_says_why_and_begins_when_it_may(lab: Lab) -> None:
    lab.reason = "power: not on mains"
    device = lab.device()
    lab.coordinator.open(1)
    lab.wait_for_state("waiting")
    said = lab.status()
    assert (said.presence, said.waiting_for) == (Presence.WAITING, "power: not on mains")
    assert lab.coordinator.quiet() == []
    assert device.runtime.steps == 0
    lab.reason = None
    lab.coordinator.settle(1)
    lab.wait_for_state("idle")
    said = lab.status()
    assert (said.presence, said.waiting_for) == (Presence.ONLINE, "")


def test_training_is_paused_between_batches_and_goes_on_to_the_same_weights(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        if step == 3:
            lab.reason = "temperature: reached 75 C"
            lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    lab.wait_for_state("paused")  # and again: it is a state, not a moment
    steps = device.runtime.steps
    assert lab.status().presence is Presence.WAITING
    lab.coordinator.quiet()
    assert (steps, device.runtime.steps) == (3, 3)
    lab.reason = None
    _, tensors = lab.decoded(lab.coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)


def test_a_superseded_round_is_called_off_while_it_is_paused(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        lab.reason = "temperature: reached 75 C"
        lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    device.runtime.hook = lambda _: None
    lab.coordinator.open(2)
    lab.wait_for_state("waiting")
    lab.reason = None
    label, _ = lab.decoded(lab.coordinator.settle(2))
    assert label.round == 2


def test_a_paused_device_ends_at_once(lab: Lab) -> None:
    device = lab.device()

    def grow_hot(step: int) -> None:
        lab.reason = "temperature: reached 75 C"
        lab.wait_for_state("paused")

    device.runtime.hook = grow_hot
    lab.coordinator.open(1)
    lab.wait_for_state("paused")
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < 5
    assert lab.status().presence is Presence.OFFLINE


def test_what_was_trained_is_kept_for_use_and_told(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    lab.wait_for_state("idle")
    expected = lab.alone(1)
    found = ModelStore(lab.disk, lab.bundle.manifest.digest).load()
    assert found is not None
    assert_same(found.model.weights, {**expected.personal, **expected.shared})
    (record,) = RoundHistory(lab.disk).records
    assert record.report is not None
    assert (record.round, record.report.local) == (1, expected.report.local)
    status = read_status(lab.disk)
    assert status is not None
    assert status.process.is_alive
    assert (status.connected, status.samples) == (True, 40)
    assert status.conditions == {"rule": "as told"}
    assert status.coordinator_key == key_of(COORDINATOR).public
    lab.devices[0].stop()
    status = read_status(lab.disk)
    assert status is not None
    assert status.ended_at is not None
