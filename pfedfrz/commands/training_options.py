"""The options that `emulate` and `export` share: how every phase of a method trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["training_options"]

_OPTIONS = (
    click.option("--epochs", type=int, help="Epochs per phase.  [default: 1]"),
    click.option("--batch-size", type=int, help="[default: 32]"),
    click.option("--learning-rate", type=float, help="[default: 0.03]"),
    click.option("--momentum", type=float, help="[default: 0]"),
    click.option("--weight-decay", type=float, help="[default: 0]"),
    click.option("--clip-norm", type=float, help="Bound on the gradient's norm.  [default: none]"),
    click.option("--proximal", type=float, help="mu of FedProx.  [default: 0]"),
)


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; they arrive as keyword arguments named like Hyperparameters' fields.

    None means not given, so that a configuration file can have its say.
    """
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
