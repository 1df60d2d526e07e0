"""Gradients on the training build of onnxruntime, whose own backward operators the graphs use.

The parameters are inputs of every graph, as for plain onnxruntime, and not the state of a training
session: one `{name: array}` serves all trainable sets, where a CheckpointState belongs to one.
Names of inputs and outputs are the same too (see onnxruntime.py), so this is that runtime with
graphs that only the training build can load.
"""

from __future__ import annotations

from collections.abc import Mapping

from pfedfrz_protocol import TrainableSet

from .onnxruntime import OnnxRuntime
from .training_build import check_training_build

__all__ = ["OnnxRuntimeTraining"]


class OnnxRuntimeTraining(OnnxRuntime):
    """The runtime `onnxruntime-training`; RuntimeMissing where there is no training build."""

    name = "onnxruntime-training"

    def __init__(
        self,
        gradients: Mapping[TrainableSet, bytes],
        predict: bytes,
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        check_training_build()
        super().__init__(gradients, predict, device=device, threads=threads)
