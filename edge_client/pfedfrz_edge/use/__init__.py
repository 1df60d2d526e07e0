"""The personalized model put to use on its own device."""

from __future__ import annotations

from .model_in_use import ModelInUse, load_model_in_use
from .onnx_export import ExportedModel, export_onnx
from .prediction import Prediction, predict_samples
from .samples_file import load_samples

__all__ = [
    "ExportedModel",
    "ModelInUse",
    "Prediction",
    "export_onnx",
    "load_model_in_use",
    "load_samples",
    "predict_samples",
]
