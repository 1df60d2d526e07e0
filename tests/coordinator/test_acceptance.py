"""Updates are judged beside the loop, and what is ours is not blamed on the device."""

from __future__ import annotations

import queue
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SHARED, make_bundle

from pfedfrz_coordinator.acceptance import AcceptancePool, Judged, Passed
from pfedfrz_coordinator.flat import flatten
from pfedfrz_coordinator.update_store import UpdateStore
from pfedfrz_coordinator.validation import Expected, ValidationPolicy
from pfedfrz_protocol import (
    Encoding,
    OperationError,
    ProtocolError,
    Reassembly,
    RejectReason,
    SharedCodec,
    SigningKey,
    TransferReference,
    UpdateLabel,
    describe_transfer,
    seal_tensors,
)

CODEC = SharedCodec.for_manifest(make_bundle().manifest)
BASE = {name: np.full(shape, 0.5, np.float32) for name, shape in SHARED.items()}
MOVED = {name: tensor + np.float32(0.25) for name, tensor in BASE.items()}
KEY = SigningKey.from_seed(bytes(32))
DIGEST = "a" * 64
SIZE = sum(spec.elements for spec in CODEC.layout)


def sealed(device: str = "me", key: SigningKey = KEY) -> bytes:
    label = UpdateLabel(device, "boot", 1, 10, DIGEST)
    return seal_tensors(CODEC.encode(MOVED, label, Encoding.DELTA_FLOAT16, BASE), key)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.store = UpdateStore(folder)
        self.results: queue.Queue[Judged] = queue.Queue()
        self.pool = AcceptancePool(CODEC, ValidationPolicy(), self.store, self.results.put)

    def judge(self, payload: bytes, transfer: TransferReference | None = None) -> Judged:
        reassembly = Reassembly(transfer or describe_transfer(payload), 1 << 20)
        assert reassembly.take(0, payload)
        expected = Expected("me", 1, DIGEST, flatten(BASE, CODEC.layout))
        self.pool.submit(self, reassembly, KEY.public, expected)
        return self.results.get(timeout=10)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.store.prepare(1)
    return made


def test_a_valid_update_is_written_aside_and_waits_to_be_adopted(bench: Bench) -> None:
    judged = bench.judge(sealed())
    passed = judged.outcome
    assert isinstance(passed, Passed)
    assert judged.upload is bench
    assert (passed.device, passed.samples, passed.payload_bytes) == ("me", 10, len(sealed()))
    assert passed.norm == pytest.approx(0.25 * SIZE**0.5)
    assert not bench.store.holds(1, "me", SIZE)
    bench.store.adopt(1, {"me": passed.written})
    assert bench.store.holds(1, "me", SIZE)
    bench.pool.close()


@pytest.mark.parametrize(
    ("payload", "transfer", "reason"),
    [
        (sealed(key=SigningKey.from_seed(bytes([1] * 32))), None, RejectReason.WRONG_SIGNATURE),
        (sealed("you"), None, RejectReason.MALFORMED),
        (b"garbage" * 20, None, RejectReason.MALFORMED),
        (sealed(), TransferReference(len(sealed()), "0" * 64), RejectReason.WRONG_DIGEST),
    ],
)
def test_a_bad_update_is_the_devices_fault_and_leaves_no_file(
    bench: Bench, payload: bytes, transfer: TransferReference | None, reason: RejectReason
) -> None:
    outcome = bench.judge(payload, transfer).outcome
    assert isinstance(outcome, ProtocolError)
    assert outcome.reason is reason
    assert list((bench.store._directory / f"{1:09d}").iterdir()) == []
    bench.pool.close()


def test_a_disk_that_refuses_is_our_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "nowhere")  # the round's folder was never made
    outcome = bench.judge(sealed()).outcome
    assert isinstance(outcome, OperationError)
    assert not isinstance(outcome, ProtocolError)
    bench.pool.close()
