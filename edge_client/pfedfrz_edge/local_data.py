"""The device's samples under the name that they were first imported by; see `data`."""

from __future__ import annotations

from .data import LabelledData, LocalData, load_labelled

__all__ = ["LabelledData", "LocalData", "load_labelled"]
