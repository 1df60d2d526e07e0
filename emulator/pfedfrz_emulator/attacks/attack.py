"""What an attacker does: the same training as everybody, then tampering with the upload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import Parameters

__all__ = ["Attack", "check_same_tensors"]


class Attack(Protocol):
    """A tampering hook; the client that carries it is otherwise an ordinary one."""

    @property
    def name(self) -> str:
        """The name that `--attack` takes."""

    @property
    def form(self) -> str:
        """What exactly it does: the report says it, because one name covers several attacks."""

    def tamper(
        self,
        received: Mapping[str, NDArray[np.float32]],
        trained: Mapping[str, NDArray[np.float32]],
    ) -> Parameters:
        """What is uploaded in place of `trained`: new float32 arrays of the same names and shapes.

        `received` is S of the round, `trained` the attacker's own S_i; neither is changed.
        """


def check_same_tensors(
    received: Mapping[str, NDArray[np.float32]], trained: Mapping[str, NDArray[np.float32]]
) -> None:
    """ValueError unless both hold the same names with the same shapes."""
    if received.keys() != trained.keys():
        different = ", ".join(sorted(received.keys() ^ trained.keys()))
        raise ValueError(f"received and trained weights differ in their names: {different}")
    for name, weight in received.items():
        if weight.shape != trained[name].shape:
            raise ValueError(f"{name}: received {weight.shape}, trained {trained[name].shape}")
