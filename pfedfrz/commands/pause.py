"""`pfedfrz pause`."""

from __future__ import annotations

from pathlib import Path

import click

from .devices import config_option, opened_registry

__all__ = ["command"]


@click.command("pause")
@config_option
def command(config: Path) -> None:
    """Open no further round of a federation; the open one goes on to its end.

    Said where its coordinator runs, which follows within a second. It lasts over restarts, until
    `pfedfrz resume`.
    """
    with opened_registry(config) as registry:
        registry.pause(True)
    click.echo(f"paused; to go on: pfedfrz resume --config {config}")
