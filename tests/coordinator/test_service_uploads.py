"""A real coordinator and the updates that come: cut off, late, or not fit to be used."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from coordinator_lab import TOPICS, Device, Lab, Life, begin, nan
from identities import key_of

from pfedfrz_coordinator.acceptance import AcceptancePool
from pfedfrz_coordinator.update_store import UpdateStore
from pfedfrz_coordinator.validation import ValidationPolicy
from pfedfrz_protocol import (
    SIGNATURE_BYTES,
    Accepted,
    Grant,
    Group,
    LocalReport,
    ModelLabel,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    SharedCodec,
    TransferReference,
    UpdateReady,
    seal_tensors,
    split_chunks,
)

# Uploads that are cut


def test_after_a_cut_only_the_missing_chunks_are_asked_for(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    assert len(split_chunks(payload)) == 4
    a.offer(first, payload)
    assert a.expect(Grant).chunks == ()
    a.upload(1, payload, 1, 2)
    a.offer(first, payload)  # as after a lost link
    assert a.expect(Grant).chunks == ((0, 0), (3, 3))
    a.upload(1, payload, 0, 3)
    assert a.expect(Accepted | Rejected) == Accepted(1, first.epoch)  # type: ignore[arg-type]


def test_another_update_begins_from_nothing(large_lab: Lab) -> None:
    lab = large_lab
    _, a, _, first = begin(lab)
    payload, other = lab.payload(a, first, 1.0), lab.payload(a, first, 2.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload, 1, 2)
    a.offer(first, other)
    assert a.expect(Grant).chunks == ()
    a.upload(1, other)
    assert a.expect(Accepted | Rejected) == Accepted(1, first.epoch)  # type: ignore[arg-type]


def test_chunks_that_come_again_and_again_are_refused_in_the_end(large_lab: Lab) -> None:
    lab = large_lab
    _, a, b, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    for _ in range(20):
        a.upload(1, payload, 1)
    verdict = a.expect(Rejected)
    assert verdict.reason is RejectReason.QUOTA_EXCEEDED
    assert b.deliver(first, lab.payload(b, first, 1.0)) == Accepted(1, first.epoch)


def test_an_offer_that_is_said_again_while_it_is_judged_is_judged_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    judge = AcceptancePool._judge

    def slowly(pool: AcceptancePool, upload: Any, *rest: Any) -> None:
        judged.append("once")
        time.sleep(0.3)
        judge(pool, upload, *rest)

    monkeypatch.setattr(AcceptancePool, "_judge", slowly)
    _, a, _, first = begin(lab)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload)
    for _ in range(20):
        a.offer(first, payload)
    assert a.expect(Accepted) == Accepted(1, first.epoch)
    assert judged == ["once"]


def test_a_round_that_closes_while_a_late_update_is_judged_is_no_fault_of_ours(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = UpdateStore.write_aside

    def slowly(store: UpdateStore, number: int, device: str, numbers: Any) -> Path:
        if device == "b" and number == 1:
            time.sleep(0.5)
        return write(store, number, device, numbers)

    monkeypatch.setattr(UpdateStore, "write_aside", slowly)
    life, a, b, first = begin(lab, buffer=1, rounds=3)
    mine, other = lab.payload(a, first, 1.0), lab.payload(b, first, 2.0)
    b.offer(first, other)
    b.expect(Grant)
    b.upload(1, other)
    assert a.deliver(first, mine) == Accepted(1, first.epoch)
    second = b.expect(RoundAnnouncement)
    assert second.round == 2
    time.sleep(0.6)
    assert life.alive
    b.offer(msgspec.structs.replace(first, epoch=second.epoch), other)
    assert b.expect(Accepted) == Accepted(1, second.epoch)


# Updates that are refused


def too_far(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    payload = lab.codec.encode(lab.moved(1e6), device.label(round_))
    return seal_tensors(payload, key_of(device.name))


def relabelled(**changes: object) -> Callable[[Lab, Device, RoundAnnouncement], bytes]:
    def make(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
        label = msgspec.structs.replace(device.label(round_), **changes)
        return seal_tensors(lab.codec.encode(lab.moved(1.0), label), key_of(device.name))

    return make


def personal(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    """The personal group where the shared one is due."""
    codec = SharedCodec(lab.bundle.manifest.layout(Group.PERSONAL))
    own = lab.bundle.initial_weights(Group.PERSONAL)
    return seal_tensors(codec.encode(own, device.label(round_)), key_of(device.name))


def other_shape(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    turned = tuple(msgspec.structs.replace(s, shape=s.shape[::-1]) for s in lab.codec.layout)
    tensors = {name: np.ascontiguousarray(w.T) for name, w in lab.moved(1.0).items()}
    payload = SharedCodec(turned).encode(tensors, device.label(round_))
    return seal_tensors(payload, key_of(device.name))


def a_model(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return seal_tensors(lab.codec.encode(lab.moved(1.0), ModelLabel(0)), key_of(device.name))


def garbage(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return b"garbage" * 20


def damaged(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    content = bytearray(lab.payload(device, round_, 1.0))
    content[-1 - SIGNATURE_BYTES] ^= 1
    return bytes(content)


def unsigned(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return lab.codec.encode(lab.moved(1.0), device.label(round_))


def signed_by_another(lab: Lab, device: Device, round_: RoundAnnouncement) -> bytes:
    return seal_tensors(unsigned(lab, device, round_), key_of("somebody"))


REFUSED = {
    "NaN": (nan, RejectReason.NOT_FINITE),
    "too far": (too_far, RejectReason.NORM_EXCEEDED),
    "wrong base": (relabelled(base="0" * 64), RejectReason.WRONG_BASE),
    "another round": (relabelled(round=7), RejectReason.LATE),
    "another device's name": (relabelled(device="b"), RejectReason.MALFORMED),
    "no sample": (relabelled(samples=0), RejectReason.SAMPLES_EXCEEDED),
    "too many samples": (relabelled(samples=1001), RejectReason.SAMPLES_EXCEEDED),
    "personal tensors": (personal, RejectReason.WRONG_TENSORS),
    "other shapes": (other_shape, RejectReason.WRONG_TENSORS),
    "a model": (a_model, RejectReason.MALFORMED),
    "garbage": (garbage, RejectReason.MALFORMED),
    "a flipped bit": (damaged, RejectReason.WRONG_DIGEST),
    "no signature": (unsigned, RejectReason.WRONG_SIGNATURE),
    "another's signature": (signed_by_another, RejectReason.WRONG_SIGNATURE),
}


def assert_refused(
    lab: Lab, life: Life, a: Device, b: Device, first: RoundAnnouncement, reason: RejectReason
) -> None:
    """Told to its device, journaled with its reason, and without effect on the model."""
    verdict = a.expect(Rejected)
    assert (verdict.round, verdict.epoch, verdict.reason) == (1, first.epoch, reason)
    assert verdict.detail
    assert lab.statuses()["a"] == "rejected"
    assert lab.rejects() == {reason: 1}
    b.deliver(first, lab.payload(b, first, 3.0))
    second = b.expect(RoundAnnouncement)
    model = b.fetch(second)
    for name, tensor in lab.initial.items():
        np.testing.assert_allclose(model[name], tensor + 3.0, rtol=1e-6)
    metrics = lab.metrics()
    assert metrics.rejected == {reason: 1}
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert life.alive


@pytest.mark.parametrize("name", REFUSED)
def test_an_update_that_does_not_pass_is_refused_and_journaled_with_its_reason(
    lab: Lab, name: str
) -> None:
    make, reason = REFUSED[name]
    policy = ValidationPolicy(max_samples=1000, max_update_norm=1e3)
    life, a, b, first = begin(lab, rounds=2, validation=policy)
    payload = make(lab, a, first)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, payload)
    assert_refused(lab, life, a, b, first, reason)
    assert lab.metrics().uplink_bytes > len(payload)


def test_an_offer_from_another_model_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.offer(first, lab.payload(a, first, 1.0), base="0" * 64)
    assert_refused(lab, life, a, b, first, RejectReason.WRONG_BASE)


def test_an_offer_of_more_bytes_than_any_update_has_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    huge = TransferReference(1 << 40, "a" * 64)
    report = LocalReport(10)
    a.tell(UpdateReady(1, first.epoch, "boot", first.model.digest, huge, report))
    assert_refused(lab, life, a, b, first, RejectReason.TOO_LARGE)


def test_other_bytes_than_offered_are_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    payload = lab.payload(a, first, 1.0)
    a.offer(first, payload)
    a.expect(Grant)
    a.upload(1, lab.payload(a, first, 2.0))
    assert_refused(lab, life, a, b, first, RejectReason.WRONG_DIGEST)


def test_a_chunk_that_the_offer_does_not_have_is_refused_and_journaled(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    a.offer(first, lab.payload(a, first, 1.0))
    a.expect(Grant)
    a.link.publish(TOPICS.update_chunk("a", 1, 5), b"")
    assert_refused(lab, life, a, b, first, RejectReason.MALFORMED)


def test_a_refused_device_that_offers_again_stays_refused(lab: Lab) -> None:
    life, a, b, first = begin(lab, rounds=2)
    bad = nan(lab, a, first)
    a.deliver(first, bad)
    a.offer(first, lab.payload(a, first, 1.0))
    assert a.expect(Rejected).reason is RejectReason.DUPLICATE
    b.deliver(first, lab.payload(b, first, 3.0))
    b.expect(RoundAnnouncement)
    metrics = lab.metrics()
    assert (metrics.accepted, metrics.missing) == (1, 0)
    assert lab.statuses()["a"] == "rejected"
    assert life.alive
