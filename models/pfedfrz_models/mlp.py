"""A dense network: three linear layers over a flattened image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import Architecture

__all__ = ["MLP", "Mlp"]

PIXELS = 28 * 28


class Mlp(nn.Module):
    """784-64-32-classes with ReLU between."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, 64)
        self.fc2 = nn.Linear(64, 32)
        self.fc3 = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, `(batch, classes)`, of images `(batch, 1, 28, 28)`."""
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        x = functional.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


MLP = Architecture("mlp", input_shape=(1, 28, 28), front_layers=2, network=Mlp)
