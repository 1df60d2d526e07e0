"""Sign flip as update negation.

    upload  S - s * (S_i - S)

with S the received and S_i the trained shared weights: the attacker undoes, s times, what it has
just learned. This is ONE of four forms that go by the name of sign flip; the others are gradient
negation in every batch, negation of the weights themselves (-S_i), and negation of the benign
devices' mean update (by an attacker who knows it). They differ in strength: results of one do not
carry over to another, so a report has to name the form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, Parameters

from .attack import check_same_tensors

__all__ = ["SignFlip"]


@dataclass(frozen=True)
class SignFlip:
    """Update negation with strength `scale` (s), above 0; 1 mirrors the update at S."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigurationError(f"sign-flip: scale = {self.scale}; want a number above 0")

    @property
    def name(self) -> str:
        """The name that `--attack` takes."""
        return "sign-flip"

    @property
    def form(self) -> str:
        """Which of the four sign flips this is, and how strong."""
        return f"update negation, S - {self.scale:g} (S_i - S)"

    def tamper(
        self,
        received: Mapping[str, NDArray[np.float32]],
        trained: Mapping[str, NDArray[np.float32]],
    ) -> Parameters:
        """S - s * (S_i - S) for every tensor, new float32 arrays."""
        check_same_tensors(received, trained)
        scale = np.float32(self.scale)
        # An attacker may well overflow: refusing that is the coordinator's business.
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                name: np.asarray(weight - scale * (trained[name] - weight), dtype=np.float32)
                for name, weight in received.items()
            }
