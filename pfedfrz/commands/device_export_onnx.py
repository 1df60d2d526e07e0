"""`pfedfrz device export-onnx`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("export-onnx")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The device's TOML file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The ONNX file to write, readable for you alone.",
)
def command(config: Path, output: Path) -> None:
    """Write the model that the device trained last as one ONNX file with its weights inside.

    Its input is x, its output logits; any onnxruntime runs it. It is compared with the device's own
    runtime before it is there. The file holds personal weights: they leave the device with it.

    \b
    Example:  pfedfrz device export-onnx --config device.toml -o model.onnx
    """
    from pfedfrz_edge.bundle_in_use import bundle_that_was_trained
    from pfedfrz_edge.configuration import load_device_settings
    from pfedfrz_edge.runtimes import load_runtime
    from pfedfrz_edge.use import export_onnx, load_model_in_use

    settings = load_device_settings(config)
    in_use = bundle_that_was_trained(settings)
    bundle = in_use.bundle
    model = load_model_in_use(in_use.home, bundle)
    runtime = load_runtime(settings.runtime, bundle, settings.compute_device)
    written = export_onnx(output, model, bundle, runtime)
    for line in (*model.damaged, model.origin):
        click.echo(line, err=True)
    click.echo(
        f"{written.path}: {written.bytes:,} bytes, agrees with {runtime.name} to "
        f"{written.difference:.1e}; it holds personal weights, keep it to yourself"
    )
