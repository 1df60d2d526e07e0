"""pfedfrz: personalized federated learning that trains on the board.

    import pfedfrz

    bundle = pfedfrz.export(net, example, personal=["head"])
    pfedfrz.save(bundle, "net.pfz")

Everything is loaded when it is first used: importing this package imports no torch, which a board
does not have.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfedfrz_export import export_model as export
    from pfedfrz_export import save_bundle as save
    from pfedfrz_protocol import (
        Bundle,
        ConfigurationError,
        Hyperparameters,
        Partition,
        Phase,
        Schedule,
        TrainableSet,
    )
    from pfedfrz_storage import read_bundle_file as read

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "ConfigurationError",
    "Hyperparameters",
    "Partition",
    "Phase",
    "Schedule",
    "TrainableSet",
    "__version__",
    "export",
    "read",
    "save",
]

_HOMES = {
    "export": ("pfedfrz_export", "export_model"),
    "read": ("pfedfrz_storage", "read_bundle_file"),
    "save": ("pfedfrz_export", "save_bundle"),
}


def __getattr__(name: str) -> object:
    """A public name, imported from its room at first use."""
    if name not in __all__:
        raise AttributeError(f"module 'pfedfrz' has no attribute {name!r}")
    room, attribute = _HOMES.get(name, ("pfedfrz_protocol", name))
    try:
        found: object = getattr(importlib.import_module(room), attribute)
    except ImportError as error:
        raise ImportError(f"pfedfrz.{name} needs pfedfrz[export] installed: {error}") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
