"""How the model of a round comes to be held."""

import numpy as np
import pytest
from identities import COORDINATOR, key_of
from tiny_bundle import SHARED, make_bundle

from pfedfrz_edge.download_store import StoredDownload
from pfedfrz_edge.model_fetch import ModelFetch
from pfedfrz_edge.session_exchange import Complain, FetchModel, KeepChunk, StopFetching
from pfedfrz_protocol import (
    ModelLabel,
    ModelReference,
    ProtocolError,
    SharedCodec,
    TransferReference,
    describe_transfer,
    seal_tensors,
    tensors_digest,
)

CODEC = SharedCodec.for_manifest(make_bundle().manifest)
TENSORS = {name: np.ones(shape, np.float32) for name, shape in SHARED.items()}
PAYLOAD = seal_tensors(CODEC.encode(TENSORS, ModelLabel(5)), key_of(COORDINATOR))
MODEL = ModelReference(5, tensors_digest(TENSORS), describe_transfer(PAYLOAD))
SIGNER = key_of(COORDINATOR).public


def test_a_model_is_held_when_its_last_chunk_has_come() -> None:
    mine = ModelFetch(CODEC)
    assert mine.begin(MODEL, SIGNER) == [FetchModel(5, (0,))]
    assert mine.held(MODEL.digest) is None
    assert mine.take(5, 0, PAYLOAD, SIGNER) == [
        KeepChunk(MODEL.transfer, 0, PAYLOAD),
        StopFetching(5, (0,)),
    ]
    held = mine.held(MODEL.digest)
    assert held is not None
    assert tensors_digest(held) == MODEL.digest
    assert mine.held("f" * 64) is None
    assert mine.downloaded_bytes == len(PAYLOAD)
    mine.count_anew()
    assert mine.downloaded_bytes == 0


def test_chunks_that_nobody_asked_for_are_nothing() -> None:
    mine = ModelFetch(CODEC)
    assert mine.take(5, 0, PAYLOAD, SIGNER) == []
    mine.begin(MODEL, SIGNER)
    assert mine.take(4, 0, PAYLOAD, SIGNER) == []
    assert mine.take(5, 1, PAYLOAD, SIGNER) == []
    assert mine.downloaded_bytes == 0
    assert mine.held(MODEL.digest) is None


def test_a_model_that_is_on_the_disk_whole_is_asked_of_nobody() -> None:
    mine = ModelFetch(CODEC, StoredDownload(MODEL.transfer, {0: PAYLOAD}))
    assert mine.begin(MODEL, SIGNER) == []
    assert mine.held(MODEL.digest) is not None
    assert mine.downloaded_bytes == 0


def test_a_model_of_another_signer_or_digest_is_not_held() -> None:
    stranger = key_of("stranger").public
    other = ModelReference(5, "f" * 64, MODEL.transfer)
    for model, signer in ((MODEL, stranger), (other, SIGNER)):
        mine = ModelFetch(CODEC)
        mine.begin(model, signer)
        *_, last = mine.take(5, 0, PAYLOAD, signer)
        assert isinstance(last, Complain)
        assert mine.held(model.digest) is None


def test_what_was_stopped_is_asked_for_again() -> None:
    mine = ModelFetch(CODEC)
    assert mine.stop() == []
    mine.begin(MODEL, SIGNER)
    assert mine.stop() == [StopFetching(5, (0,))]
    assert mine.begin(MODEL, SIGNER) == [FetchModel(5, (0,))]


def test_more_than_a_model_can_have_is_refused_and_what_was_begun_goes_on() -> None:
    mine = ModelFetch(CODEC)
    mine.begin(MODEL, SIGNER)
    huge = TransferReference(CODEC.max_sealed_bytes + 1, MODEL.transfer.sha256)
    with pytest.raises(ProtocolError):
        mine.begin(ModelReference(6, "f" * 64, huge), SIGNER)
    assert mine.stop() == [StopFetching(5, (0,))]
