"""`pfedfrz emulate`."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pfedfrz_protocol import METHODS, Encoding

from .sections import SectionedCommand, option
from .training_options import training_options

if TYPE_CHECKING:
    from pfedfrz_emulator.emulation import EmulationResult

__all__ = ["command", "describe_result"]

_METHOD, _DATA, _FLEET, _RUN = "Method", "Data", "Fleet and rounds", "Run"


@click.command("emulate", cls=SectionedCommand)
@option(_METHOD, "--method", metavar="NAME", help=f"{', '.join(METHODS)}.  [default: pfedfrz]")
@option(
    _METHOD,
    "--model",
    metavar="NAME",
    help="mlp, cnn, cnn-small, resnet-gn, mobile, transformer or har-1d.  [default: cnn-small]",
)
@option(
    _METHOD,
    "--personal",
    multiple=True,
    metavar="PATTERN",
    help="What stays on the device: input-layer, front, middle, head, body, or a pattern such as "
    "'conv*'; repeatable.  [default: the method's, mostly front]",
)
@option(
    _METHOD,
    "--aggregation",
    metavar="RULE",
    help="mean, median, trimmed-mean, geometric-median, krum, multi-krum, bulyan, meamed, "
    "centered-clipping or norm-clipping; with settings as in krum:attackers=2; nnm or bucketing "
    "before any, as in nnm+krum:attackers=2.  [default: mean]",
)
@option(
    _METHOD,
    "--encoding",
    type=click.Choice([encoding.value for encoding in Encoding]),
    metavar="NAME",
    help=f"How weights travel: {', '.join(e.value for e in Encoding)}.  "
    f"[default: {Encoding.DELTA_FLOAT16.value}]",
)
@option(
    _DATA,
    "--dataset",
    metavar="NAME",
    help="mnist, fashion-mnist, emnist-balanced, emnist-letters, emnist-byclass, digits or "
    "npz:PATH, folder:PATH.  [default: mnist]",
)
@option(
    _DATA,
    "--alpha",
    type=float,
    metavar="X",
    help="Concentration of the Dirichlet label split: 0.1 is strongly skewed, 100 nearly even.  "
    "[default: 0.1]",
)
@option(_DATA, "--iid", is_flag=True, default=None, help="Split evenly instead.")
@option(
    _DATA,
    "--split",
    metavar="NAME",
    help="Any split instead, as NAME or NAME:KEY=VALUE: iid, dirichlet:alpha=X, quantity:alpha=X, "
    "pathological:labels=2, rotation:turns=4 or file:path=FILE.",
)
@option(
    _DATA, "--samples", type=int, metavar="N", help="Training samples per device.  [default: 600]"
)
@option(
    _DATA,
    "--test-per-class",
    type=int,
    metavar="N",
    help="Test samples of every label.  [default: 100]",
)
@option(_FLEET, "--devices", type=int, metavar="N", help="Attackers included.  [default: 10]")
@option(_FLEET, "--attackers", type=int, metavar="N", help="How many attack.  [default: 0]")
@option(
    _FLEET,
    "--attack",
    metavar="NAME",
    help="What they do: alie, backdoor, benign-negation, free-rider, gaussian, gradient-negation, "
    "ipm, label-flip, mimic, min-max, min-sum, nan, replay, sign-flip or weight-negation; with "
    "settings as NAME:KEY=VALUE,..., such as ipm:scale=2,start_round=3.  [default: sign-flip]",
)
@option(_FLEET, "--rounds", type=int, metavar="N", help="Rounds of training.  [default: 10]")
@option(
    _FLEET,
    "--participants",
    type=int,
    metavar="N",
    help="Devices drawn for each round; 0 takes all.  [default: 0]",
)
@option(
    _FLEET,
    "--overselect",
    type=float,
    metavar="X",
    help="Draw this share more than --participants; the first updates close a round.  [default: 0]",
)
@option(
    _FLEET,
    "--buffer",
    type=int,
    metavar="N",
    help="Asynchronous: every N updates make a model, late ones count less.  [default: 0]",
)
@option(
    _FLEET,
    "--deadline-s",
    type=float,
    metavar="X",
    help="Seconds until a round goes on without the missing.  [default: 120]",
)
@option(
    _FLEET,
    "--runtime",
    multiple=True,
    metavar="NAME",
    help="What computes gradients on devices: onnxruntime, onnxruntime-training, executorch or "
    "torch; several are taken in turn.  [default: onnxruntime]",
)
@option(
    _FLEET,
    "--faults",
    metavar="NAME",
    help="What goes wrong on purpose: calm, flaky or harsh, with settings as in "
    "harsh:kills=3,broker_kills=0; docs/faults.md.  [default: calm]",
)
@training_options
@option(
    _RUN,
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="TOML file of these options, with _ for -; those of local training below [training]. "
    "Options win.",
)
@option(
    _RUN,
    "--broker",
    default="auto",
    metavar="NAME",
    help="auto, mosquitto, iotcore or mqtt://[USER:PASSWORD@]HOST[:PORT].  [default: auto]",
)
@option(_RUN, "--seed", type=int, metavar="N", help="Of everything random.  [default: 0]")
@option(
    _RUN,
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A new or empty directory for the run.  [default: runs/DATE-METHOD-DATASET]",
)
@option(
    _RUN,
    "--web",
    "page",
    is_flag=False,
    flag_value="",
    metavar="[HOST:PORT]",
    help="Serve a page on which the rounds can be watched; in a terminal it stays until Ctrl-C.",
)
@option(_RUN, "--json", "as_json", is_flag=True, help="Print summary.json to standard output.")
def command(
    config: Path | None,
    broker: str,
    out: Path | None,
    page: str | None,
    as_json: bool,
    encoding: str | None,
    **options: object,
) -> None:
    """Run a whole fleet on this machine: broker, coordinator, devices, attackers.

    \b
    Examples:
      pfedfrz emulate --dataset digits --devices 4 --rounds 3
      pfedfrz emulate --devices 10 --attackers 2 --out my-run
      pfedfrz emulate --devices 10 --attackers 2 --rounds 30 --web
    """
    from pfedfrz_emulator.experiment import load_experiment

    options["encoding"] = None if encoding is None else Encoding(encoding)
    experiment = load_experiment(config, options)

    from pfedfrz_emulator.emulation import emulate

    def tell(result: EmulationResult) -> None:
        if as_json:
            click.echo(result.files.summary.read_text(), nl=False)
            return
        for line in describe_result(result):
            click.echo(line)
        if page is not None and sys.stdin.isatty() and sys.stdout.isatty():
            click.echo("the page stays until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()

    emulate(experiment, out=out, broker=broker, page=page, when_done=tell)


def describe_result(result: EmulationResult) -> list[str]:
    """The run in a few lines, the report's path last."""
    from pfedfrz_monitor.report import describe_record

    return [*describe_record(result.record), f"report    {result.files.page}"]
