"""`pfedfrz export`."""

from __future__ import annotations

from pathlib import Path

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
    **training: object,
) -> None:
    """Make the bundle that devices train MODEL from; every graph is checked against torch.

    \b
    Example:  pfedfrz export cnn-small --personal front -o model.pfz
    """
    import msgspec

    from pfedfrz_export import export_bundle
    from pfedfrz_models import build_model, method_partition
    from pfedfrz_protocol import find_method, write_bundle
    from pfedfrz_storage import write_atomically

    chosen = find_method(method)
    named = build_model(model, classes, seed)
    partition = method_partition(chosen, named, personal)
    bundle = export_bundle(
        named.module,
        name=named.name,
        input_spec=named.input,
        partition=partition,
        schedule=chosen.schedule(msgspec.convert(training, Hyperparameters)),
        runtimes=runtimes,
    )
    content = write_bundle(bundle.manifest, bundle.files)
    write_atomically(output, content)
    click.echo(
        f"{output}: {len(content)} bytes, {len(partition.personal)} personal and "
        f"{len(partition.shared)} shared tensors, runtimes {', '.join(runtimes)}, "
        "every graph within 1e-5 of torch"
    )
