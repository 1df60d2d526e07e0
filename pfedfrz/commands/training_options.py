"""The options that `emulate` and `export` share: how every phase of a method trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["training_options"]

_OPTIONS = (
    click.option("--epochs", type=int, default=1, show_default=True, help="Epochs per phase."),
    click.option("--batch-size", type=int, default=32, show_default=True),
    click.option("--learning-rate", type=float, default=0.03, show_default=True),
    click.option("--momentum", type=float, default=0.0, show_default=True),
    click.option("--weight-decay", type=float, default=0.0, show_default=True),
    click.option("--clip-norm", type=float, default=None, help="Bound on the gradient's norm."),
    click.option("--proximal", type=float, default=0.0, help="mu of FedProx."),
)


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; they arrive as keyword arguments named like Hyperparameters' fields."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
