"""Which weights a device predicts with: those of its last training, or at first its bundle's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import Bundle, Group, OperationError, Parameters

from ..local_training import seen_by
from ..model_store import ModelStore

__all__ = ["ModelInUse", "load_model_in_use"]


@dataclass(frozen=True)
class ModelInUse:
    """The weights under the model's own names, and where they are from."""

    weights: Parameters
    round: int | None
    """The round whose training made them; None for the bundle's initial weights."""
    saved_at: float | None
    """Unix seconds of the device's clock, when they were kept."""
    damaged: tuple[str, ...] = ()
    """What was wrong with newer ones, in one line each."""

    @property
    def origin(self) -> str:
        """One line for people."""
        if self.round is None:
            return (
                "no round has been trained on this device yet: these are the bundle's initial "
                "weights, which know nothing of its data"
            )
        return f"the model that this device trained in round {self.round}"


def load_model_in_use(home: Path, bundle: Bundle) -> ModelInUse:
    """The model of the device's last training, from the bundle's stores; the device may run.

    Raises ConfigurationError for a model of another bundle, and OperationError when what is kept
    cannot be read.
    """
    manifest = bundle.manifest
    found = ModelStore(home, manifest.digest).load()
    if found is None:
        initial = {**bundle.initial_weights(Group.SHARED), **bundle.initial_personal()}
        return ModelInUse(seen_by(manifest.schedule.keeps_copy, initial), None, None)
    weights = seen_by(manifest.schedule.keeps_copy, found.model.weights)
    wanted = {row.name: row.shape for row in manifest.parameters}
    if {name: array.shape for name, array in weights.items()} != wanted:
        raise OperationError(
            f"{found.path} does not hold the weights of the bundle's model; remove it, the next "
            "round that is trained writes a new one"
        )
    return ModelInUse(weights, found.model.round, found.saved_at, found.damaged)
