"""Partial sums as they come in: whatever the order, one total; whatever is lost, named once."""

from __future__ import annotations

import numpy as np
import pytest

from pfedfrz_coordinator.aggregation import ExactSum
from pfedfrz_coordinator.collection import Collection
from pfedfrz_coordinator.journal import Holding
from pfedfrz_protocol import (
    MAX_SHARE,
    ProtocolError,
    RejectReason,
    SumImpossible,
    SumReady,
    TransferReference,
    describe_transfer,
)

PARAMETERS = 4
SAMPLES = {"a": 3, "b": 5, "c": 7, "d": 11}
HOLDINGS = {
    "a": Holding("w1", "a" * 64),
    "b": Holding("w2", "b" * 64),
    "c": Holding("w1", "c" * 64),
}
TIMEOUT_S = 8.0


def begin() -> Collection:
    return Collection.begin(6, 2, SAMPLES, HOLDINGS, PARAMETERS, TIMEOUT_S, 100.0)


def update(device: str) -> np.ndarray:
    return np.random.default_rng(ord(device)).standard_normal(PARAMETERS).astype(np.float16)


def added(*devices: str) -> ExactSum:
    total = ExactSum(PARAMETERS)
    for device in devices:
        total.add(update(device), SAMPLES[device])
    return total


def give(collection: Collection, worker: str, share: int, total: ExactSum, now_s: float) -> None:
    data = total.encode()
    ready = SumReady(6, 2, share, total.samples, describe_transfer(data))
    collection.on_event(worker, ready, now_s)
    collection.on_chunk(worker, 6, share, 0, data, now_s)


def test_each_holder_is_asked_for_its_devices_and_nobody_for_the_coordinator_s_own() -> None:
    collection = begin()
    orders = collection.due(100.0)
    assert [(w, o.share, [d for d, _ in o.updates]) for w, o in orders] == [
        ("w1", 0, ["a", "c"]),
        ("w2", 1, ["b"]),
    ]
    assert orders[0][1].updates[0] == ("a", "a" * 64)
    assert collection.local == ("d",)
    assert not collection.is_over


@pytest.mark.parametrize("first", [0, 1])
def test_the_total_is_that_of_all_updates_in_any_order(first: int) -> None:
    collection = begin()
    collection.due(100.0)
    answers = [("w1", 0, added("c", "a")), ("w2", 1, added("b"))]
    for worker, share, total in (answers[first], answers[1 - first]):
        give(collection, worker, share, total, 101.0)
    assert collection.is_over
    assert collection.lost == {}
    assert collection.total.encode() == added("a", "b", "c").encode()


def test_an_answer_that_comes_twice_counts_once() -> None:
    collection = begin()
    give(collection, "w1", 0, added("a", "c"), 101.0)
    collection.on_chunk("w1", 6, 0, 0, added("a", "c").encode(), 101.0)
    with pytest.raises(ProtocolError):
        give(collection, "w1", 0, added("a", "c"), 102.0)
    assert collection.total.samples == SAMPLES["a"] + SAMPLES["c"]


def test_silence_is_asked_again_and_then_is_a_loss() -> None:
    collection = begin()
    assert len(collection.due(100.0)) == 2
    assert collection.wake_at_s() == 102.0
    assert collection.due(101.9) == []
    give(collection, "w2", 1, added("b"), 101.9)
    assert [worker for worker, _ in collection.due(102.0)] == ["w1"]
    assert collection.due(107.9) != []
    assert not collection.is_over
    assert collection.due(108.0) == []
    assert collection.is_over
    assert collection.lost == {"a": "w1", "c": "w1"}
    assert collection.wake_at_s() == float("inf")


def test_a_sum_on_its_way_is_not_silence() -> None:
    collection = begin()
    data = added("a", "c").encode()
    ready = SumReady(6, 2, 0, 10, describe_transfer(data))
    collection.on_event("w1", ready, 107.0)
    collection.due(108.0)
    assert "a" not in collection.lost
    collection.on_chunk("w1", 6, 0, 0, data, 114.0)
    assert "a" not in collection.lost


def test_a_broker_that_is_away_is_no_silence_of_the_workers() -> None:
    collection = begin()
    collection.due(100.0)
    collection.excuse(150.0)
    assert collection.due(150.0) == []
    assert len(collection.due(152.0)) == 2
    assert collection.lost == {}
    collection.due(158.0)
    assert set(collection.lost) == {"a", "b", "c"}


def test_a_worker_that_lacks_some_loses_those_alone() -> None:
    collection = begin()
    collection.on_event("w1", SumImpossible(6, 2, 0, ("c", "stranger")), 101.0)
    assert collection.lost == {"c": "w1"}


@pytest.mark.parametrize(
    ("worker", "event"),
    [
        ("w2", SumReady(6, 2, 0, 10, describe_transfer(added("a", "c").encode()))),
        ("w1", SumReady(5, 2, 0, 10, describe_transfer(added("a", "c").encode()))),
        ("w1", SumReady(6, 1, 0, 10, describe_transfer(added("a", "c").encode()))),
        ("w1", SumReady(6, 2, 2, 10, describe_transfer(added("a", "c").encode()))),
        ("w3", SumImpossible(6, 2, 0, ("a",))),
    ],
)
def test_an_answer_to_another_question_changes_nothing(
    worker: str, event: SumReady | SumImpossible
) -> None:
    collection = begin()
    with pytest.raises(ProtocolError) as caught:
        collection.on_event(worker, event, 101.0)
    assert caught.value.reason is RejectReason.LATE
    assert collection.lost == {}


def test_a_sum_of_other_samples_or_length_is_lost_before_it_is_received() -> None:
    for samples, size in ((9, ExactSum.encoded_bytes(PARAMETERS)), (10, 1 << 40)):
        collection = begin()
        with pytest.raises(ProtocolError, match="not 10 in 56"):
            collection.on_event(
                "w1", SumReady(6, 2, 0, samples, TransferReference(size, "0" * 64)), 101.0
            )
        assert set(collection.lost) == {"a", "c"}
        assert collection.total.samples == 0


def test_a_sum_that_says_one_thing_and_holds_another_is_lost() -> None:
    collection = begin()
    data = added("b", "b").encode()  # 10 samples as announced, or so it says
    forged = (11).to_bytes(8, "little") + data[8:]
    collection.on_event("w1", SumReady(6, 2, 0, 10, describe_transfer(forged)), 101.0)
    with pytest.raises(ProtocolError, match="11 samples, not 10"):
        collection.on_chunk("w1", 6, 0, 0, forged, 101.0)
    assert set(collection.lost) == {"a", "c"}
    assert collection.total.samples == 0


def test_many_updates_of_one_worker_are_several_orders() -> None:
    devices = {f"d{n}": 1 for n in range(MAX_SHARE + 1)}
    held = {device: Holding("w1", "a" * 64) for device in devices}
    collection = Collection.begin(1, 1, devices, held, PARAMETERS, TIMEOUT_S, 0.0)
    assert [len(order.updates) for _, order in collection.due(0.0)] == [MAX_SHARE, 1]
