"""`pfedfrz export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pfedfrz_protocol import METHODS, ConfigurationError, Hyperparameters, find_method

from .sections import SectionedCommand, option
from .training_options import training_options

__all__ = ["command"]

_METHOD, _BUNDLE = "Method", "Bundle"


@click.command("export", cls=SectionedCommand)
@click.argument("model")
@option(
    _METHOD,
    "--method",
    default="pfedfrz",
    metavar="NAME",
    help=f"{', '.join(METHODS)}.  [default: pfedfrz]",
)
@option(
    _METHOD,
    "--personal",
    multiple=True,
    metavar="PATTERN",
    help="What stays on the device: input-layer, front, head, body, or a pattern such as "
    "'conv*'; repeatable.  [default: the method's, mostly front]",
)
@option(
    _BUNDLE,
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write it.",
)
@option(
    _BUNDLE,
    "--runtime",
    "runtimes",
    multiple=True,
    default=("onnxruntime",),
    metavar="NAME",
    help="Repeatable.  [default: onnxruntime]",
)
@option(_BUNDLE, "--classes", type=int, default=10, metavar="N", help="Labels.  [default: 10]")
@option(
    _BUNDLE,
    "--seed",
    type=int,
    default=0,
    metavar="N",
    help="Of the initial weights.  [default: 0]",
)
@training_options
def command(
    model: str,
    personal: tuple[str, ...],
    method: str,
    classes: int,
    runtimes: tuple[str, ...],
    seed: int,
    output: Path,
    **training: Any,
) -> None:
    """Make the bundle that devices train MODEL from: mlp, cnn or cnn-small.

    Every graph is checked against torch before the bundle is written.

    \b
    Example:  pfedfrz export cnn-small --personal front -o model.pfz
    """
    chosen = find_method(method)
    given = {name: value for name, value in training.items() if value is not None}
    schedule = chosen.schedule(Hyperparameters(**given))
    if not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed = {seed}; want 0 to {2**63 - 1}")
    _check_output(output)

    from pfedfrz_export import export_bundle, save_bundle
    from pfedfrz_models import build_model, method_partition

    named = build_model(model, classes, seed)
    partition = method_partition(chosen, named, personal)
    bundle = export_bundle(
        named.module,
        name=named.name,
        input_spec=named.input,
        partition=partition,
        schedule=schedule,
        runtimes=runtimes,
    )
    save_bundle(bundle, output)
    click.echo(
        f"{output}: {output.stat().st_size:,} bytes, {len(partition.personal)} personal and "
        f"{len(partition.shared)} shared tensors for {', '.join(runtimes)}; "
        "every graph is within 1e-5 of torch"
    )


def _check_output(path: Path) -> None:
    """Say now what the export would find out in the end."""
    folder = path.parent
    if not folder.is_dir():
        raise ConfigurationError(f"{path}: there is no directory {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(f"{path}: the directory {folder} cannot be written to")
