"""`pfedfrz resume`."""

from __future__ import annotations

from pathlib import Path

import click

from .devices import config_option, opened_registry

__all__ = ["command"]


@click.command("resume")
@config_option
def command(config: Path) -> None:
    """Open rounds of a paused federation again; said where its coordinator runs."""
    with opened_registry(config) as registry:
        registry.pause(False)
    click.echo("rounds are opened again")
