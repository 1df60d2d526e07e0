"""How well a backdoor took hold: what its trigger does to the benign devices' models at the end."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from pfedfrz_protocol import Group

from ..attacks import Backdoor, find_attack
from ..splits import rotate
from .cell import Cell
from .rounds import CellOutcome
from .stacked_training import seen_by

__all__ = ["backdoor_success"]


def backdoor_success(cell: Cell, outcome: CellOutcome) -> float | None:
    """The mean over benign devices of Backdoor.success_rate, 0 to 1; None for another attack.

    Measured as received: with the last S and the device's own weights. It is known without
    attackers too, as the rate of honest mistakes. Devices that diverged are left out.
    """
    attack = find_attack(cell.experiment.attack)
    if not isinstance(attack, Backdoor):
        return None
    x = cell.data.test_x[cell.tested]
    y = cell.data.dataset.test_y[cell.tested].astype(np.int64)
    shared = cell.layouts[Group.SHARED].views(torch.from_numpy(outcome.shared[None]))
    personal = cell.layouts[Group.PERSONAL].views(torch.from_numpy(outcome.personal))
    rates = []
    for place in cell.benign:
        if not np.isfinite(outcome.personal[place]).all():
            continue
        own = {name: values[0] for name, values in shared.items()}
        own |= {name: values[place] for name, values in personal.items()}
        weights = seen_by(cell.schedule.keeps_copy, own)

        def predict(
            marked: NDArray[np.float32], weights: dict[str, torch.Tensor] = weights
        ) -> NDArray[np.float32]:
            with torch.no_grad():
                logits: torch.Tensor = functional_call(
                    cell.module, weights, (torch.from_numpy(marked),)
                )
            return logits.numpy()

        rates.append(attack.success_rate(predict, rotate(x, cell.quarter_turns[place]), y))
    return float(np.mean(rates)) if rates else None
