"""What computes gradients on the device, one runtime per file, behind one contract."""

from __future__ import annotations

from .base import FeatureRuntime, Runtime, StepResult
from .registry import RUNTIMES, RuntimeEntry, load_runtime

__all__ = ["RUNTIMES", "FeatureRuntime", "Runtime", "RuntimeEntry", "StepResult", "load_runtime"]
