"""`pfedfrz emulate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pfedfrz_protocol import METHODS

from .training_options import training_options

if TYPE_CHECKING:
    from pfedfrz_emulator.emulation import EmulationResult

__all__ = ["command"]


@click.command("emulate")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the same names as the options; options win.",
)
@click.option("--method", help=f"One of: {', '.join(METHODS)}.  [default: pfedfrz]")
@click.option("--dataset", help="mnist, fashion-mnist, digits or npz:PATH.  [default: mnist]")
@click.option("--alpha", type=float, help="Concentration of the label split.  [default: 0.1]")
@click.option("--iid", is_flag=True, default=None, help="Split evenly instead.")
@click.option("--model", help="mlp, cnn or cnn-small.  [default: cnn-small]")
@click.option(
    "--personal",
    multiple=True,
    help="Preset (input-layer, front, head, body) or pattern; repeatable.  "
    "[default: front, or the method's]",
)
@click.option("--devices", type=int, help="[default: 10]")
@click.option("--attackers", type=int, help="[default: 0]")
@click.option("--attack", help="What attackers do.  [default: sign-flip]")
@click.option("--rounds", type=int, help="[default: 10]")
@click.option("--runtime", help="[default: onnxruntime]")
@click.option("--aggregation", help="mean or median.  [default: mean]")
@click.option("--samples", type=int, help="Training samples per device.  [default: 600]")
@click.option("--test-per-class", type=int, help="Test samples of every label.  [default: 100]")
@click.option("--participants", type=int, help="Devices per round, 0 for all.  [default: 0]")
@click.option(
    "--deadline-s",
    type=float,
    help="Seconds until a round goes on without the missing.  [default: 120]",
)
@click.option("--seed", type=int, help="[default: 0]")
@click.option(
    "--broker",
    default="auto",
    show_default=True,
    help="auto, mosquitto, iotcore or mqtt://HOST:PORT.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Empty directory for the run.  [default: runs/...]",
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json to standard output.")
@training_options
def command(
    config: Path | None, broker: str, out: Path | None, as_json: bool, **options: object
) -> None:
    """Run a whole fleet on this machine: broker, coordinator, devices, attackers.

    \b
    Example:  pfedfrz emulate --devices 10 --attackers 2 --rounds 10
    """
    from rich.console import Console

    from pfedfrz_emulator.emulation import emulate, new_run_directory
    from pfedfrz_emulator.experiment import load_experiment

    experiment = load_experiment(config, options)
    directory = new_run_directory(out, experiment)
    console = Console(stderr=True)
    result = emulate(
        experiment,
        out=directory,
        broker=broker,
        command=shlex.join(["pfedfrz", *sys.argv[1:]]),
        console=console,
    )
    if as_json:
        click.echo(result.files.summary.read_text())
        return
    for line in describe_result(result):
        click.echo(line)


def describe_result(result: EmulationResult) -> list[str]:
    """The run in a few lines, the report's path last."""
    from pfedfrz_emulator.report import Moment, final_accuracy

    record = result.record
    lines = [""]
    for moment in Moment:
        final = final_accuracy(record, moment)
        if final.spread is None:
            continue
        spread = final.spread
        lines.append(
            f"{moment.value:<9} {spread.mean:6.1%} +- {spread.std:.1%} over {spread.devices} benign "
            f"devices (lowest {spread.min:.1%}), {final.when}"
        )
    rejected = ", ".join(f"{count} {reason}" for reason, count in record.rejected.items())
    lines += [
        f"updates   {record.accepted} accepted, {rejected or 'none'} rejected",
        f"bytes     {record.uplink_bytes / 1e6:.2f} MB up, {record.downlink_bytes / 1e6:.2f} MB down",
        f"time      {record.wall_s:.1f} s",
        f"report    {result.files.page}",
    ]
    return lines
