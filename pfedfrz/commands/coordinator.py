"""`pfedfrz coordinator`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

__all__ = ["command"]


@click.command("coordinator")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The coordinator's TOML file.",
)
@click.option(
    "--check", is_flag=True, help="Only read all its files, and say whether it can start."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(config: Path, check: bool, verbose: bool) -> None:
    """Run the rounds of a federation; started again, it goes on where it was.

    \b
    Example:  pfedfrz coordinator --config coordinator.toml
    """
    from pfedfrz_coordinator.process import check_coordinator, run_coordinator

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if check:
        settings = check_coordinator(config)
        click.echo(f"the coordinator of {settings.federation} can start")
        click.echo(f"its state: {settings.state_dir}")
        click.echo(f"its key: {settings.key_path}")
        return
    if not run_coordinator(config):
        click.echo("stopped before the last round; start it again to go on", err=True)
