"""`pfedfrz rotate-key`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

__all__ = ["command"]


class _Kind(msgspec.Struct):
    """Which of the two a file is for: only a device has a name of its own."""

    device: str | None = None


@click.command("rotate-key")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The TOML file of a device or of the coordinator, which must not be running.",
)
def command(config: Path) -> None:
    """Give a device, or the coordinator, a new key that its old one vouches for.

    The others follow at the next start. It is for keys that are old; one that was stolen is
    revoked (`pfedfrz devices revoke`).

    \b
    Example:  pfedfrz rotate-key --config /etc/pfedfrz/device.toml
    """
    from pfedfrz_storage import read_configuration

    if read_configuration(config, _Kind).device is None:
        from pfedfrz_coordinator.process import rotate_coordinator_key

        public = rotate_coordinator_key(config)
    else:
        from pfedfrz_edge.process import rotate_device_key

        public = rotate_device_key(config)
    click.echo(f"the public key is now {public}")
