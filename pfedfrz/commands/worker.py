"""`pfedfrz worker`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

__all__ = ["command"]


@click.command("worker")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The coordinator's TOML file, or a copy with this worker's account.",
)
@click.option("--name", required=True, help="The worker's name: no two may have the same.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(config: Path, name: str, verbose: bool) -> None:
    """Take uploads, check them and add them up for a coordinator whose file has [workers].

    \b
    Example:  pfedfrz worker --config coordinator.toml --name w1
    """
    from pfedfrz_coordinator.process import run_worker

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    run_worker(config, name)
