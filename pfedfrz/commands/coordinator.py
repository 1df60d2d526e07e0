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
    "--adopt-bundle",
    is_flag=True,
    help="Go over to the TOML file's bundle, and offer it to the devices; with --check, then end.",
)
@click.option(
    "--check", is_flag=True, help="Only read all its files, and say whether it can start."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(config: Path, adopt_bundle: bool, check: bool, verbose: bool) -> None:
    """Run the rounds of a federation; started again, it goes on where it was.

    Where the state belongs to another bundle than the TOML file names, --adopt-bundle moves what
    was before aside and carries the shared weights over that fit by name and shape.

    \b
    Examples:
      pfedfrz coordinator --config coordinator.toml
      pfedfrz coordinator --config coordinator.toml --adopt-bundle
    """
    from pfedfrz_coordinator.process import check_coordinator, go_over, run_coordinator

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if check and adopt_bundle:
        go_over(config, say=click.echo)
        return
    if check:
        settings = check_coordinator(config)
        click.echo(f"the coordinator of {settings.federation} can start")
        click.echo(f"its state: {settings.state_dir}")
        click.echo(f"its key: {settings.key_path}")
        return
    if not run_coordinator(config, adopt=adopt_bundle, say=click.echo):
        click.echo("stopped before the last round; start it again to go on", err=True)
