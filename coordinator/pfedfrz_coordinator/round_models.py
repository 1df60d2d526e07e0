"""The model that devices train now, and those that the last rounds began with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    ModelLabel,
    ModelReference,
    Parameters,
    RoundAnnouncement,
    SharedCodec,
    SigningKey,
    describe_transfer,
    seal_tensors,
    tensors_digest,
)

from .flat import flatten

__all__ = ["RoundModel", "RoundModels"]


@dataclass(frozen=True, eq=False)
class RoundModel:
    """A model that updates are trained from."""

    digest: str
    vector: NDArray[np.float32]
    """`(parameters,)`."""


class RoundModels:
    """The coordinator's."""

    def __init__(
        self,
        codec: SharedCodec,
        key: SigningKey,
        version: int,
        shared: Parameters,
        recent: tuple[tuple[int, Parameters], ...],
    ) -> None:
        """Begin with a version and, of `recent` rounds, (round, the model that it began with)."""
        self._codec = codec
        self._key = key
        self._bases = {
            number: RoundModel(tensors_digest(model), flatten(model, codec.layout))
            for number, model in recent
        }
        self.shared = shared
        """The newest model."""
        self.payload = b""
        """It as bytes, sealed."""
        self.reference = self.replace(version, shared)
        """What is said of it."""

    def replace(self, version: int, shared: Parameters) -> ModelReference:
        """Go over to a new version; its reference."""
        self.shared = shared
        self.payload = seal_tensors(self._codec.encode(shared, ModelLabel(version)), self._key)
        self.reference = ModelReference(
            version, tensors_digest(shared), describe_transfer(self.payload)
        )
        return self.reference

    def begin(self, announcement: RoundAnnouncement) -> None:
        """A round begins with the newest model; those of rounds too long ago are let go."""
        number = announcement.round
        vector = flatten(self.shared, self._codec.layout)
        self._bases[number] = RoundModel(announcement.model.digest, vector)
        oldest = number - announcement.stale_rounds
        self._bases = {n: base for n, base in self._bases.items() if n >= oldest}

    def base_of(self, number: int) -> RoundModel:
        """The model that a round began with, of those whose updates may be welcome."""
        return self._bases[number]

    def digests(self) -> tuple[tuple[int, str], ...]:
        """(round, digest of the model that it began with)."""
        return tuple((number, base.digest) for number, base in self._bases.items())
