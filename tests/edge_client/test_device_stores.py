"""What a device finds on its disk when it starts."""

import logging
from pathlib import Path

import numpy as np
import pytest
from identities import key_of
from tiny_bundle import SHARED, make_bundle

from pfedfrz_edge.device_stores import DeviceStores
from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_edge.session_exchange import ForgetPending, RememberSettled
from pfedfrz_protocol import (
    LocalReport,
    ModelLabel,
    OperationError,
    SharedCodec,
    open_tensors,
    seal_tensors,
)

MANIFEST = make_bundle().manifest
CODEC = SharedCodec.for_manifest(MANIFEST)
ZEROS = {name: np.zeros(shape, np.float32) for name, shape in SHARED.items()}
ENCODED = CODEC.encode(ZEROS, ModelLabel(1))


def stores(home: Path) -> DeviceStores:
    return DeviceStores.open(home, MANIFEST.digest, CODEC)


def update(payload: bytes) -> PendingUpdate:
    return PendingUpdate(3, "c" * 64, LocalReport(5), payload)


def test_an_update_that_waits_is_signed_with_the_key_of_now(tmp_path: Path) -> None:
    old, new = key_of("me"), key_of("me, rotated")
    mine = stores(tmp_path)
    assert mine.pending_update(old) is None
    kept = update(seal_tensors(ENCODED, old))
    mine.outbox.put(kept)
    assert stores(tmp_path).pending_update(old) == kept
    anew = stores(tmp_path).pending_update(new)
    assert anew is not None
    assert open_tensors(anew.payload).require_signer(new.public) == ENCODED


def test_an_update_that_cannot_be_opened_is_said_and_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = stores(tmp_path)
    mine.outbox.put(update(b""))
    with caplog.at_level(logging.ERROR):
        assert mine.pending_update(key_of("me")) is None
    assert "the round is trained again" in caplog.text


def test_what_is_settled_is_known_after_a_restart(tmp_path: Path) -> None:
    mine = stores(tmp_path)
    assert mine.settled() is None
    mine.outbox.put(update(seal_tensors(ENCODED, key_of("me"))))
    mine.settle(RememberSettled(3, 8))
    mine.settle(ForgetPending())
    assert stores(tmp_path).settled() == (8, 3)
    assert stores(tmp_path).pending_update(key_of("me")) is None


def test_a_disk_that_refuses_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = stores(tmp_path)

    def full(_: object) -> None:
        raise OperationError("the disk is full")

    monkeypatch.setattr(mine.outbox, "settle", full)
    with caplog.at_level(logging.ERROR):
        mine.settle(RememberSettled(3, 8))
    assert "the disk is full" in caplog.text
