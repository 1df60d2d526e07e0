"""`pfedfrz export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pfedfrz_protocol import METHODS, Hyperparameters

from .training_options import training_options

__all__ = ["command"]


@click.command("export")
@click.argument("model")
@click.option(
    "--personal",
    multiple=True,
    help="Preset (input-layer, front, head, body) or pattern of the personal group; repeatable. "
    "Default: the method's.",
)
@click.option(
    "--method", default="pfedfrz", show_default=True, help=f"One of: {', '.join(METHODS)}."
)
@click.option("--classes", type=int, default=10, show_default=True)
@click.option("--runtime", "runtimes", multiple=True, default=("onnxruntime",), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the initial weights.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
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
    """Make the bundle that devices train MODEL from; every graph is checked against torch.

    \b
    Example:  pfedfrz export cnn-small --personal front -o model.pfz
    """
    from pfedfrz_export import export_bundle, save_bundle
    from pfedfrz_models import build_model, method_partition
    from pfedfrz_protocol import find_method

    chosen = find_method(method)
    given = {name: value for name, value in training.items() if value is not None}
    named = build_model(model, classes, seed)
    partition = method_partition(chosen, named, personal)
    bundle = export_bundle(
        named.module,
        name=named.name,
        input_spec=named.input,
        partition=partition,
        schedule=chosen.schedule(Hyperparameters(**given)),
        runtimes=runtimes,
    )
    save_bundle(bundle, output)
    click.echo(
        f"{output}: {output.stat().st_size} bytes, {len(partition.personal)} personal and "
        f"{len(partition.shared)} shared tensors, runtimes {', '.join(runtimes)}, "
        "every graph within 1e-5 of torch"
    )
