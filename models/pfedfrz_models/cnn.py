"""The larger convolutional network: 220,143 parameters at 47 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import Architecture

__all__ = ["CNN", "Cnn"]


class Cnn(nn.Module):
    """Two padded 5x5 convolutions, each pooled by 2, and two dense layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.fc1 = nn.Linear(32 * 7 * 7, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, `(batch, classes)`, of images `(batch, 1, 28, 28)`."""
        # Pooling before the ReLU gives the same values and gradients as after it, and the ReLU
        # and its backward then work on a quarter of the elements.
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        logits: Tensor = self.fc2(x)
        return logits


CNN = Architecture("cnn", input_shape=(1, 28, 28), front_layers=2, network=Cnn)
