"""How many training samples of each class a device says that it has, where its owner wants that."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from pfedfrz_protocol import MAX_CLASSES_TOLD, InputSpec, LossSpec

from .data import LocalData

__all__ = ["NOTHING_TOLD", "LabelMix", "shared_label_mix"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelMix:
    """What is told of the labels."""

    classes: int = 0
    """How many classes there are to tell of; 0 where nothing is told."""

    def of(self, data: LocalData) -> tuple[int, ...]:
        """The training samples of each class; nothing where nothing is told or there are none."""
        if not self.classes or not len(data.train):
            return ()
        return tuple(np.bincount(data.train.y, minlength=self.classes).tolist())


NOTHING_TOLD = LabelMix()


def shared_label_mix(share: bool, spec: InputSpec, loss: LossSpec) -> LabelMix:
    """What a device tells with `share_label_mix = true` or false.

    Where it cannot be told although it should be, the log says so in a line.
    """
    if not share:
        return NOTHING_TOLD
    if not loss.has_classes:
        log.warning(
            "share_label_mix: the labels of this model are no classes (%s); nothing is told",
            loss.kind.value,
        )
        return NOTHING_TOLD
    if spec.classes > MAX_CLASSES_TOLD:
        log.warning(
            "share_label_mix: this model has %d classes, and at most %d are told; nothing is told",
            spec.classes,
            MAX_CLASSES_TOLD,
        )
        return NOTHING_TOLD
    return LabelMix(spec.classes)
