"""What computes gradients on the device, one runtime per file, behind one contract."""

from __future__ import annotations

from . import without_telemetry  # noqa: F401  # before anything that loads onnxruntime
from .base import (
    FeatureRuntime,
    Labels,
    PlacedRuntime,
    Runtime,
    RuntimeMissing,
    StepResult,
    device_of,
)
from .registry import RUNTIMES, RuntimeEntry, load_runtime

__all__ = [
    "RUNTIMES",
    "FeatureRuntime",
    "Labels",
    "PlacedRuntime",
    "Runtime",
    "RuntimeEntry",
    "RuntimeMissing",
    "StepResult",
    "device_of",
    "load_runtime",
]
