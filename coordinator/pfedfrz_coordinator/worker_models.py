"""The model of the open round, fetched by a worker as devices fetch it: from retained chunks."""

from __future__ import annotations

import logging

from pfedfrz_protocol import (
    ModelReference,
    ProtocolError,
    Reassembly,
    RejectReason,
    SharedCodec,
    Topics,
    open_tensors,
    tensors_digest,
)
from pfedfrz_transport import Link

from .flat import flatten
from .round_models import RoundModel

__all__ = ["WorkerModels"]

log = logging.getLogger(__name__)


class WorkerModels:
    """The newest model that was asked for, and no other."""

    def __init__(self, topics: Topics, link: Link, codec: SharedCodec, signer: str) -> None:
        self._topics = topics
        self._link = link
        self._codec = codec
        self._signer = signer
        self._wanted: ModelReference | None = None
        self._reassembly: Reassembly | None = None
        self._model: RoundModel | None = None

    def want(self, model: ModelReference) -> None:
        """Begin to fetch a model, unless it is here or on its way; ProtocolError if it is too big.

        Whatever else was being fetched is let go.
        """
        if self._wanted == model:
            return
        reassembly = Reassembly(model.transfer, self._codec.max_sealed_bytes)
        if self._wanted is not None and self._reassembly is not None:
            self._link.unsubscribe(self._topics.model_chunks(self._wanted.version))
        self._wanted, self._reassembly, self._model = model, reassembly, None
        self._link.subscribe(self._topics.model_chunks(model.version))

    def find(self, model: ModelReference) -> RoundModel | None:
        """The model, once it is here."""
        return self._model if self._wanted == model else None

    def take(self, topic: str, chunk: bytes) -> bool:
        """Take a chunk; whether the model is here with it.

        ProtocolError when what came is not the model: chunks of another of the same version, which
        newer copies take the place of.
        """
        found = self._topics.parse_model_chunk(topic)
        wanted, reassembly = self._wanted, self._reassembly
        if found is None or wanted is None or reassembly is None or found[0] != wanted.version:
            return False
        if not chunk:
            return False  # an empty one clears what was retained
        sealed = reassembly.add(found[1], chunk)
        if sealed is None:
            return False
        _, tensors = self._codec.decode(open_tensors(sealed).require_signer(self._signer))
        if tensors_digest(tensors) != wanted.digest:
            raise ProtocolError(RejectReason.WRONG_DIGEST, "another model than was announced")
        self._model = RoundModel(wanted.digest, flatten(tensors, self._codec.layout))
        self._reassembly = None
        self._link.unsubscribe(self._topics.model_chunks(wanted.version))
        return True
