"""`pfedfrz device`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

__all__ = ["command"]


@click.command("device")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The device's TOML file.",
)
@click.option(
    "--check", is_flag=True, help="Only read all its files, and say whether it can start."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(config: Path, check: bool, verbose: bool) -> None:
    """Take part in a federation until told to stop.

    \b
    Example:  pfedfrz device --config /etc/pfedfrz/device.toml
    """
    from pfedfrz_edge.process import check_device, run_device

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if check:
        settings = check_device(config)
        click.echo(f"{settings.device} of {settings.federation} can start")
        click.echo(f"its state: {settings.state_dir}")
        click.echo(f"its key: {settings.key_path}")
        return
    run_device(config)
