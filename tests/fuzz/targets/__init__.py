"""One module for each decoder that reads what others wrote: the network, or a file.

A module has

    target(data)   feeds bytes to the decoder and lets through only the errors that it documents
    seeds()        named inputs to begin with, each class of attack among them
    mutate         optional: a mutator that knows the input's structure

Where random bytes would end at a digest or a signature, `data` is what lies behind it, and the
target makes header, digest and signature fit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Mutate", "Target", "load_target", "target_names"]

Mutate = Callable[[bytes, int, int], bytes]
"""(data, largest size, seed) -> other data."""


@dataclass(frozen=True)
class Target:
    """One decoder under test."""

    name: str
    run: Callable[[bytes], None]
    seeds: Mapping[str, bytes]
    mutate: Mutate | None


def target_names() -> list[str]:
    """The names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_target(name: str) -> Target:
    """The target of that name; KeyError for one that there is not."""
    if name not in target_names():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(name, module.target, module.seeds(), getattr(module, "mutate", None))
