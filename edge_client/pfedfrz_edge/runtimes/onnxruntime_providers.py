"""What onnxruntime computes on: the CPU, or a CUDA device.

onnxruntime falls back to the CPU by itself, with nothing but a line on its own log, when a CUDA
library is missing or too old. So what was asked for is compared with what a session really has.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnxruntime

from pfedfrz_protocol import ConfigurationError

__all__ = ["CPU", "Placement", "place_by"]

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_NAME = re.compile(r"cuda(?::(\d{1,3}))?")


@dataclass(frozen=True)
class Placement:
    """A device, and how a session is told of it."""

    device: str
    """`cpu`, `cuda` or `cuda:1`."""
    index: int | None = None
    """The number of the CUDA device; None for the CPU."""

    @property
    def providers(self) -> list[Any]:
        """onnxruntime's execution providers, the first that can run an operator runs it."""
        if self.index is None:
            return [_CPU]
        options = {
            "device_id": str(self.index),
            # float32 as it is: CUDA devices would take ten bits of mantissa for products.
            "use_tf32": "0",
            # A search by time may choose another algorithm, and other rounding, at every start.
            "cudnn_conv_algo_search": "DEFAULT",
        }
        return [(_CUDA, options), _CPU]

    def require_real(self, session: onnxruntime.InferenceSession) -> None:
        """Raise ConfigurationError for a session that computes elsewhere than it was told to."""
        if self.index is not None and _CUDA not in session.get_providers():
            raise ConfigurationError(
                f"compute_device = {self.device!r}, but onnxruntime {onnxruntime.__version__} "
                "could not start its CUDA part and would compute on the CPU (its log says which "
                "library is missing); install the CUDA and cuDNN that it was built for, or use cpu"
            )


CPU = Placement("cpu")


def place_by(setting: str, is_usable: Callable[[Placement], str | None]) -> tuple[Placement, str]:
    """Where to compute by the `compute_device` of a configuration, and why not elsewhere, or "".

    `auto` is CUDA where this onnxruntime has it and `is_usable` finds no fault with it: that is
    asked to open a real session, and returns why it cannot. ConfigurationError for a setting that
    is no device and for CUDA that was asked for and is not there.
    """
    offered = onnxruntime.get_available_providers()
    if setting == "auto":
        if _CUDA not in offered:
            return CPU, ""
        fault = is_usable(Placement("cuda", 0))
        return (Placement("cuda", 0), "") if fault is None else (CPU, fault)
    if setting == "cpu":
        return CPU, ""
    found = _NAME.fullmatch(setting)
    if found is None:
        raise ConfigurationError(f"compute_device = {setting!r}; want auto, cpu or cuda")
    if _CUDA not in offered:
        raise ConfigurationError(
            f"compute_device = {setting!r}, but onnxruntime {onnxruntime.__version__} here is "
            f"built without CUDA (it has: {', '.join(offered)}); in its place install "
            "onnxruntime-gpu, on a Jetson NVIDIA's wheel of it for the board's JetPack, or use cpu"
        )
    return Placement(setting, int(found[1] or 0)), ""
