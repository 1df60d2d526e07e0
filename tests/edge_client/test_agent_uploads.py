"""A real device gets its update to the coordinator, whatever comes between."""

import threading
import time

import pytest
from device_lab import EPOCH, PATIENCE_S, TOPICS, Device, Lab, assert_same

from pfedfrz_edge.outbox import Outbox
from pfedfrz_protocol import (
    Accepted,
    DeviceEvent,
    Grant,
    PhaseProgress,
    Presence,
    Rejected,
    RejectReason,
    RoundFailed,
    UpdateReady,
    open_message,
)
from pfedfrz_transport import LinkLimits


@pytest.mark.parametrize("moment", ["offered", "granted", "uploaded"])
def test_restarted_before_the_acknowledgement_it_uploads_again_without_training_again(
    lab: Lab, moment: str
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    if moment == "granted":
        first.stop()
        coordinator.command(Grant(1, EPOCH))  # nobody is there to hear it
    elif moment == "uploaded":
        coordinator.command(Grant(1, EPOCH))
        coordinator.receive(1, ready.transfer)
    first.stop()
    second = lab.device("boot-2")
    again = coordinator.expect(UpdateReady)
    assert again.boot_id == "boot-2"
    assert (again.transfer, again.report) == (ready.transfer, ready.report)
    coordinator.command(Grant(1, EPOCH))
    _, tensors = lab.decoded(coordinator.receive(1, again.transfer))
    coordinator.command(Accepted(1, EPOCH))
    assert_same(tensors, lab.alone(1).shared)
    lab.wait_for_state("idle")
    assert second.runtime.steps == 0
    assert Outbox(lab.disk).get() is None


def test_restarted_after_the_acknowledgement_it_begins_the_next_round_with_its_own_weights(
    lab: Lab,
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    first.stop()
    personal = lab.stored().weights
    coordinator.open(2)
    lab.device("boot-2")
    _, tensors = lab.decoded(coordinator.settle(2))
    assert_same(tensors, lab.alone(2, personal).shared)


def test_restarted_after_the_acknowledgement_it_does_not_train_for_that_round_again(
    lab: Lab,
) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.settle(1)
    lab.wait_for_state("idle")
    first.stop()
    second = lab.device("boot-2")
    lab.wait_for_state("idle")
    assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    assert second.runtime.steps == 0
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    coordinator.settle(1, epoch=EPOCH + 1)


def test_back_at_a_restarted_broker_before_the_coordinator_it_offers_when_that_is_back(
    lab: Lab,
) -> None:
    coordinator = lab.coordinator
    lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    lab.broker.drop("coordinator", stay_away=True)
    lab.broker.stop(forget=True)
    before = len(lab.broker.captured)
    lab.broker.start()
    offered = TOPICS.device("me", "event")
    deadline = time.monotonic() + PATIENCE_S
    while offered not in [c.topic for c in lab.broker.captured[before:]]:  # and nobody heard it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lab.broker.let_in("coordinator")
    assert coordinator.expect(UpdateReady) == ready
    coordinator.command(Grant(1, EPOCH))
    coordinator.receive(1, ready.transfer)


def test_a_full_queue_does_not_end_it_and_the_offer_is_made_when_there_is_room(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device(limits=LinkLimits(queued_messages=1))
    coordinator.publish_model(0)
    lab.broker.hold_acknowledgements()
    coordinator.announce(coordinator.announcement(1))
    coordinator.expect(UpdateReady)  # sent, and not acknowledged: there is no room for more
    for _ in range(5):
        coordinator.announce(coordinator.announcement(1))
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    assert coordinator.quiet() == []
    assert device.alive
    lab.broker.release_acknowledgements()
    while coordinator.expect(UpdateReady).epoch == EPOCH:
        pass
    assert device.alive


def test_progress_is_sent_once_and_waits_for_nothing(lab: Lab) -> None:
    lab.device()
    lab.coordinator.open(1)
    lab.coordinator.settle(1)
    topic = TOPICS.device("me", "event")
    with lab.broker.lock:
        sent = [(c.payload, c.qos) for c in lab.broker.captured if c.topic == topic]
    by_kind = {
        type(open_message(payload, DeviceEvent)): qos  # type: ignore[arg-type]
        for payload, qos in sent
    }
    assert by_kind == {PhaseProgress: 0, UpdateReady: 1}


@pytest.mark.parametrize("file", ["pending-update.msgpack", "settled-round.msgpack"])
def test_a_disk_that_refuses_does_not_end_it(lab: Lab, file: str) -> None:
    (lab.disk / file).mkdir(parents=True)  # what is written cannot be put in its place
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    if file.startswith("pending"):
        failure = coordinator.expect(RoundFailed)
        assert (failure.round, failure.epoch) == (1, EPOCH)
        assert "cannot write" in failure.detail
        assert [e for e in coordinator.quiet() if isinstance(e, UpdateReady)] == []
    else:
        coordinator.settle(1)
        lab.wait_for_state("idle")
    (lab.disk / file).rmdir()
    coordinator.open(2)
    coordinator.settle(2)
    assert device.alive


def test_an_update_for_a_round_that_is_over_is_not_uploaded_after_a_restart(lab: Lab) -> None:
    coordinator, first = lab.coordinator, lab.device("boot-1")
    coordinator.open(1)
    coordinator.expect(UpdateReady)
    first.stop()
    coordinator.open(2)
    lab.device("boot-2")
    assert coordinator.expect(UpdateReady).round == 2
    pending = Outbox(lab.disk).get()
    assert pending is not None
    assert pending.round == 2


def upload_in_part(lab: Lab) -> tuple[Device, UpdateReady]:
    """A device that has sent two chunks of three and waits for them to be acknowledged."""
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    ready = coordinator.expect(UpdateReady)
    lab.broker.hold_acknowledgements()
    coordinator.command(Grant(1, EPOCH))
    lab.wait_for_state("uploading")
    assert coordinator.quiet() == []
    assert [(number, chunk) for number, chunk, _ in coordinator.chunks] == [(1, 0), (1, 1)]
    coordinator.chunks.clear()
    return device, ready


@pytest.mark.parametrize("fault", ["connection lost", "broker restarted", "broker killed"])
def test_interrupted_in_mid_upload_it_offers_again_and_sends_everything(
    lab: Lab, fault: str
) -> None:
    coordinator, (device, ready) = lab.coordinator, upload_in_part(lab)
    steps = device.runtime.steps
    if fault == "connection lost":
        lab.broker.drop("me")
    else:
        lab.broker.stop(forget=fault == "broker killed")
        lab.broker.start()
    lab.broker.release_acknowledgements()
    again = coordinator.expect(UpdateReady)
    assert again == ready
    coordinator.command(Grant(1, EPOCH))
    _, tensors = lab.decoded(coordinator.receive(1, again.transfer))
    coordinator.command(Accepted(1, EPOCH))
    assert_same(tensors, lab.alone(1).shared)
    lab.wait_for_state("idle")
    assert device.runtime.steps == steps
    assert lab.status().presence is Presence.ONLINE


def test_a_second_grant_in_mid_upload_sends_everything_from_the_first_chunk(lab: Lab) -> None:
    coordinator, (_, ready) = lab.coordinator, upload_in_part(lab)
    coordinator.command(Grant(1, EPOCH))
    lab.broker.release_acknowledgements()
    _, tensors = lab.decoded(coordinator.receive(1, ready.transfer))
    assert_same(tensors, lab.alone(1).shared)


def test_a_verdict_in_mid_upload_stops_the_rest(lab: Lab) -> None:
    coordinator, _ = lab.coordinator, upload_in_part(lab)
    coordinator.command(Rejected(1, EPOCH, RejectReason.NORM_EXCEEDED, "too far"))
    lab.wait_for_state("idle")
    lab.broker.release_acknowledgements()
    coordinator.quiet()
    assert coordinator.chunks == []
    assert Outbox(lab.disk).get() is None


def test_away_from_the_broker_it_goes_on_training_and_offers_when_it_is_back(lab: Lab) -> None:
    coordinator, device, outbox = lab.coordinator, lab.device(), Outbox(lab.disk)
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 3:
            reached.set()
            assert go_on.wait(PATIENCE_S)

    device.runtime.hook = wait
    coordinator.open(1)
    assert reached.wait(PATIENCE_S)
    lab.broker.drop("me", stay_away=True)
    go_on.set()
    deadline = time.monotonic() + PATIENCE_S
    while outbox.get() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lab.broker.let_in("me")
    _, tensors = lab.decoded(coordinator.settle(1))
    assert_same(tensors, lab.alone(1).shared)


def test_a_round_opened_again_gets_the_same_update(lab: Lab) -> None:
    coordinator, device = lab.coordinator, lab.device()
    coordinator.open(1)
    first = coordinator.expect(UpdateReady)
    steps = device.runtime.steps
    coordinator.announce(coordinator.announcement(1, epoch=EPOCH + 1))
    again = coordinator.expect(UpdateReady)
    assert again.epoch == EPOCH + 1
    assert again.transfer == first.transfer
    assert device.runtime.steps == steps
