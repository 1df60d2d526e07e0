"""pfedfrz: personalized federated learning that trains on the board.

    import pfedfrz

    bundle = pfedfrz.export(net, example, personal=["head"])
    pfedfrz.save_bundle(bundle, "net.pfz")

The public names, each loaded from its room when it is first used: a board has neither torch nor
matplotlib, and must not need them for `import pfedfrz`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfedfrz_coordinator.process import run_coordinator
    from pfedfrz_edge.process import run_device
    from pfedfrz_emulator.emulation import EmulationResult, emulate
    from pfedfrz_emulator.experiment import Experiment, load_experiment
    from pfedfrz_export import export, export_bundle, save_bundle
    from pfedfrz_models import NamedModel, build_model, method_partition, named_model, open_model
    from pfedfrz_monitor.report import RunRecord, summarize
    from pfedfrz_protocol import (
        METHODS,
        Bundle,
        ConfigurationError,
        Group,
        Hyperparameters,
        InputSpec,
        LossKind,
        LossSpec,
        Method,
        OperationError,
        Partition,
        PfedfrzError,
        Phase,
        Schedule,
        TrainableSet,
        find_method,
        partition_by_patterns,
    )
    from pfedfrz_storage import read_bundle_file

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Bundle",
    "ConfigurationError",
    "EmulationResult",
    "Experiment",
    "Group",
    "Hyperparameters",
    "InputSpec",
    "LossKind",
    "LossSpec",
    "Method",
    "NamedModel",
    "OperationError",
    "Partition",
    "PfedfrzError",
    "Phase",
    "RunRecord",
    "Schedule",
    "TrainableSet",
    "__version__",
    "build_model",
    "emulate",
    "export",
    "export_bundle",
    "find_method",
    "load_experiment",
    "method_partition",
    "named_model",
    "open_model",
    "partition_by_patterns",
    "read_bundle_file",
    "run_coordinator",
    "run_device",
    "save_bundle",
    "summarize",
]

_HOMES = {
    "pfedfrz_coordinator.process": ("run_coordinator",),
    "pfedfrz_edge.process": ("run_device",),
    "pfedfrz_emulator.emulation": ("EmulationResult", "emulate"),
    "pfedfrz_emulator.experiment": ("Experiment", "load_experiment"),
    "pfedfrz_monitor.report": ("RunRecord", "summarize"),
    "pfedfrz_export": ("export", "export_bundle", "save_bundle"),
    "pfedfrz_models": (
        "NamedModel",
        "build_model",
        "method_partition",
        "named_model",
        "open_model",
    ),
    "pfedfrz_storage": ("read_bundle_file",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF.get(name, "pfedfrz_protocol")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
