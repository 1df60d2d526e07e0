"""The samples of one device: what it trains on and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..runtimes import Labels

__all__ = ["DataFeed", "LabelledData", "LocalData"]


@dataclass(frozen=True)
class LabelledData:
    """x float32 `(samples, *shape)`; y int64 `(samples,)`, or float32 `(samples, outputs)` where
    the bundle's loss wants numbers (see LossSpec).
    """

    x: NDArray[np.float32]
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, chosen: NDArray[np.bool_]) -> LabelledData:
        """The samples where `chosen`, `(samples,)`, is true."""
        return self if chosen.all() else LabelledData(self.x[chosen], self.y[chosen])


@dataclass(frozen=True)
class LocalData:
    """Training samples and, where there are any, test samples."""

    train: LabelledData
    test: LabelledData | None
    classes: int

    @property
    def label_shares(self) -> NDArray[np.float64]:
        """q_k: the share of label k among the training samples, `(classes,)` float64.

        Only where labels are classes.
        """
        counts = np.bincount(self.train.y, minlength=self.classes)
        return counts / max(1, len(self.train))

    def latest(self) -> LocalData:
        """These: data in memory do not grow (see DataFeed)."""
        return self


class DataFeed(Protocol):
    """Samples that may become more while a device runs."""

    def latest(self) -> LocalData:
        """What there is now, possibly without any training sample; never fails."""
