"""`pfedfrz doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from pfedfrz_edge.doctor import Checkup

__all__ = ["command"]


@click.command("doctor")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--broker", help="Also try to connect to mqtt://HOST:PORT.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Connect and compute as this device.toml says, while that device does not run.",
)
@click.option("--runtime", "runtimes", multiple=True, help="Measure only these.  [default: all]")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Training samples that a round is predicted for.",
)
@click.option(
    "--test-samples",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="Test samples that both evaluations run.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where the device would keep its state.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundle: Path,
    broker: str | None,
    config: Path | None,
    runtimes: tuple[str, ...],
    samples: int,
    test_samples: int,
    state_dir: Path,
    as_json: bool,
) -> int:
    """Measure what training BUNDLE costs on this board; exit code 1 when it cannot take part.

    \b
    Example:  pfedfrz doctor model.pfz --broker mqtt://192.168.1.10
    """
    from pfedfrz_edge.configuration import load_device_settings
    from pfedfrz_edge.doctor import check_board
    from pfedfrz_transport import open_access

    if broker and config:
        raise click.UsageError("--broker and --config both name a broker: give one")
    access = open_access(broker) if broker else None
    compute_device = "auto"
    if config:
        settings = load_device_settings(config)
        compute_device = settings.compute_device
        access = open_access(settings.broker, settings.tls, settings.password_file)
    checkup = check_board(
        bundle,
        state_dir=state_dir,
        samples=samples,
        test_samples=test_samples,
        broker=access,
        only=runtimes,
        compute_device=compute_device,
    )
    if as_json:
        click.echo(msgspec.json.encode({"checkup": checkup, "faults": checkup.faults}))
    else:
        for line in _describe(checkup):
            click.echo(line)
    return 1 if checkup.faults else 0


def _describe(checkup: Checkup) -> list[str]:
    lines = [f"model     {checkup.model} ({checkup.bundle[:12]}...)"]
    for finding in checkup.runtimes:
        if not finding.works:
            lines.append(f"runtime   {finding.runtime}: does not work: {finding.fault}")
            continue
        peak = finding.peak_memory_bytes / 2**20
        lines.append(
            f"runtime   {finding.runtime}: works on {finding.device}, {peak:.0f} MiB of memory "
            "at most"
        )
        lines += [
            f"  a step of {kind.value:<10} {1e3 * cost.wall_s:.1f} ms"
            for kind, cost in finding.steps.items()
        ]
        lines += [
            f"  a step of {kind.value:<10} {1e3 * cost.step.wall_s:.1f} ms from kept features"
            for kind, cost in finding.features.items()
        ]
    for row in checkup.rounds:
        lines += [
            f"a round   with {row.runtime}, {row.samples} training and {row.test_samples} test "
            "samples, predicted:",
            f"  training             {row.train_s:.1f} s",
            f"  evaluation           {row.evaluate_s:.1f} s",
            f"  CPU time in all      {row.cpu_s:.1f} s",
            f"  down and up          {row.download_bytes / 1e6:.2f} MB, "
            f"{row.upload_bytes / 1e6:.2f} MB",
        ]
    free, needed = checkup.disk.free_bytes / 1e6, checkup.disk.needed_bytes / 1e6
    lines.append(f"disk      {free:.0f} MB free, {needed:.1f} MB needed")
    known = {True: "synchronized", False: "not synchronized", None: "synchronization not known"}
    lines.append(f"clock     {checkup.clock.now}, {known[checkup.clock.synchronized]}")
    if checkup.broker:
        answer = checkup.broker.fault or f"answers in {1e3 * checkup.broker.connect_s:.0f} ms"
        lines.append(f"broker    {checkup.broker.broker}: {answer}")
    verdict = [f"error: {fault}" for fault in checkup.faults]
    return [*lines, *(verdict or ["this board can take part"])]
