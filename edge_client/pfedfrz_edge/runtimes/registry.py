"""From a runtime's name to the runtime; a runtime's package is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pfedfrz_protocol import Bundle, ConfigurationError

from .base import Runtime, RuntimeMissing

__all__ = ["RUNTIMES", "RuntimeEntry", "load_runtime"]

AUTO = "auto"


@dataclass(frozen=True)
class RuntimeEntry:
    """How a runtime is had: the loader imports what it needs, the extra installs it."""

    name: str
    extra: str
    load: Callable[[Bundle], Runtime]
    load_on: Callable[[Bundle, str], Runtime] | None = None
    """The same on a named compute device; None for a runtime that knows the CPU alone."""


def _load_onnxruntime(bundle: Bundle, compute_device: str = AUTO) -> Runtime:
    from .onnxruntime import OnnxRuntime

    return OnnxRuntime.from_bundle(bundle, device=compute_device)


def _load_onnxruntime_training(bundle: Bundle) -> Runtime:
    from .training_build import check_training_build

    check_training_build()
    from .onnxruntime_training import OnnxRuntimeTraining

    return OnnxRuntimeTraining.from_bundle(bundle)


def _load_torch(bundle: Bundle, compute_device: str = AUTO) -> Runtime:
    from .torch import TorchRuntime

    return TorchRuntime.from_bundle(bundle, device=compute_device)


def _load_executorch(bundle: Bundle) -> Runtime:
    from .executorch import ExecutorchRuntime

    return ExecutorchRuntime.from_bundle(bundle)


RUNTIMES: dict[str, RuntimeEntry] = {
    entry.name: entry
    for entry in (
        RuntimeEntry(
            "onnxruntime",
            extra="onnxruntime",
            load=_load_onnxruntime,
            load_on=_load_onnxruntime,
        ),
        RuntimeEntry(
            "onnxruntime-training", extra="onnxruntime-training", load=_load_onnxruntime_training
        ),
        RuntimeEntry("executorch", extra="executorch", load=_load_executorch),
        RuntimeEntry("torch", extra="torch", load=_load_torch, load_on=_load_torch),
    )
}


def load_runtime(name: str, bundle: Bundle, compute_device: str = AUTO) -> Runtime:
    """The runtime `name` over the graphs of `bundle`, on a CUDA device where it can and there is.

    `compute_device` asks for one: `cpu`, `cuda` or `cuda:1`. Raises ConfigurationError when there
    is no such runtime, when the bundle has no graphs for it or when it cannot be had on that
    device, RuntimeMissing when its package is not installed.
    """
    entry = RUNTIMES.get(name)
    if entry is None:
        raise ConfigurationError(
            f"unknown runtime {name!r}; the runtimes are: {', '.join(RUNTIMES)}"
        )
    if name not in bundle.manifest.runtimes:
        held = ", ".join(bundle.manifest.runtimes) or "none"
        raise ConfigurationError(
            f"the bundle of {bundle.manifest.model!r} has no graphs for runtime {name} "
            f"(it has: {held}); export it with --runtime {name}"
        )
    if entry.load_on is None and compute_device not in (AUTO, "cpu"):
        raise ConfigurationError(
            f"runtime {name} computes on the CPU alone, so compute_device = {compute_device!r} "
            "cannot be had; leave it out or choose runtime onnxruntime or torch"
        )
    try:
        return entry.load_on(bundle, compute_device) if entry.load_on else entry.load(bundle)
    except ImportError as error:
        raise RuntimeMissing(
            f"runtime {name} is not installed here ({error}); "
            f"run: pip install 'pfedfrz[{entry.extra}]'"
        ) from error
    except OSError as error:  # a shared library that is missing or for another machine
        raise RuntimeMissing(
            f"runtime {name} cannot be loaded here ({error}); "
            f"install it again: pip install --force-reinstall 'pfedfrz[{entry.extra}]'"
        ) from error
