"""The smaller convolutional network: 46,730 parameters at 10 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import Architecture

__all__ = ["CNN_SMALL", "CnnSmall"]


class CnnSmall(nn.Module):
    """Two unpadded 5x5 convolutions, each pooled by 2, and two dense layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, `(batch, classes)`, of images `(batch, 1, 28, 28)`."""
        # Pooled before the ReLU for the reason given in cnn.py.
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        logits: Tensor = self.fc2(x)
        return logits


CNN_SMALL = Architecture("cnn-small", input_shape=(1, 28, 28), front_layers=2, network=CnnSmall)
