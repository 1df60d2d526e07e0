"""From a runtime's name to the runtime; a runtime's package is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pfedfrz_protocol import Bundle, ConfigurationError

from .base import Runtime

__all__ = ["RUNTIMES", "RuntimeEntry", "load_runtime"]


@dataclass(frozen=True)
class RuntimeEntry:
    """How a runtime is had: the loader imports what it needs, the extra installs it."""

    name: str
    extra: str
    load: Callable[[Bundle], Runtime]


def _load_onnxruntime(bundle: Bundle) -> Runtime:
    from .onnxruntime import OnnxRuntime

    return OnnxRuntime.from_bundle(bundle)


def _load_executorch(bundle: Bundle) -> Runtime:
    from .executorch import ExecutorchRuntime

    return ExecutorchRuntime.from_bundle(bundle)


RUNTIMES: dict[str, RuntimeEntry] = {
    entry.name: entry
    for entry in (
        RuntimeEntry("onnxruntime", extra="onnxruntime", load=_load_onnxruntime),
        RuntimeEntry("executorch", extra="executorch", load=_load_executorch),
    )
}


def load_runtime(name: str, bundle: Bundle) -> Runtime:
    """The runtime `name` over the graphs of `bundle`.

    Raises ConfigurationError when there is no such runtime, when the bundle has no graphs for it
    or when its package is not installed.
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
    try:
        return entry.load(bundle)
    except ImportError as error:
        raise ConfigurationError(
            f"runtime {name} is not installed here ({error}); "
            f"run: pip install 'pfedfrz[{entry.extra}]'"
        ) from error
