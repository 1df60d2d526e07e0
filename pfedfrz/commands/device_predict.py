"""`pfedfrz device predict`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

__all__ = ["command"]


@click.command("predict")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The device's TOML file.",
)
@click.argument("samples", metavar="INPUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, readable for you alone, and not to the terminal.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(config: Path, samples: Path, output: Path | None, as_json: bool) -> None:
    """Say what each sample of INPUT is, by the model that the device trained last.

    INPUT is a .npz file with an array x, or a .npy file. Before the first training the bundle's
    initial weights answer, and that is said.

    \b
    Example:  pfedfrz device predict --config device.toml samples.npz
    """
    from pfedfrz_edge.bundle_in_use import bundle_that_was_trained
    from pfedfrz_edge.configuration import load_device_settings
    from pfedfrz_edge.runtimes import load_runtime
    from pfedfrz_edge.use import load_model_in_use, load_samples, predict_samples
    from pfedfrz_storage import write_atomically

    settings = load_device_settings(config)
    in_use = bundle_that_was_trained(settings)
    bundle = in_use.bundle
    manifest = bundle.manifest
    x = load_samples(samples, manifest.input)
    model = load_model_in_use(in_use.home, bundle)
    runtime = load_runtime(settings.runtime, bundle, settings.compute_device)
    predictions = predict_samples(runtime, model.weights, x, manifest.loss)
    for line in (*model.damaged, model.origin):
        click.echo(line, err=True)
    if as_json:
        facts = {"round": model.round, "saved_at": model.saved_at}
        text = msgspec.json.encode({"model": facts, "predictions": predictions}).decode()
    else:
        text = "\n".join(f"{number}  {one}" for number, one in enumerate(predictions))
    if output is None:
        click.echo(text)
    else:
        write_atomically(output, f"{text}\n".encode(), mode=0o600)
