"""`pfedfrz device`: run a device, and see and use what it has."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import click

__all__ = ["command"]

_COMMANDS = {
    "status": "Show how the device is: connection, rounds, what it waits for.",
    "predict": "Let the device's own model say what samples are.",
    "export-onnx": "Write the device's own model as one ONNX file.",
}


class _DeviceGroup(click.Group):
    """Its commands are imported when they are called: a running device needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"pfedfrz.commands.device_{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    "device", cls=_DeviceGroup, invoke_without_command=True, subcommand_metavar="[COMMAND]"
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The device's TOML file; without a command, that device runs.",
)
@click.option(
    "--check", is_flag=True, help="Only read all its files, and say whether it can start."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.pass_context
def command(ctx: click.Context, config: Path | None, check: bool, verbose: bool) -> None:
    """Take part in a federation until told to stop.

    With a command: see how a device is, or use its model. The device may run meanwhile.

    \b
    Examples:
      pfedfrz device --config /etc/pfedfrz/device.toml
      pfedfrz device status --config /etc/pfedfrz/device.toml
      pfedfrz device predict --config /etc/pfedfrz/device.toml samples.npz
    """
    if ctx.invoked_subcommand is not None:
        if config is not None or check or verbose:
            raise click.UsageError(
                f"write the options behind the command: pfedfrz device {ctx.invoked_subcommand} "
                "--config FILE"
            )
        return
    if config is None:
        raise click.MissingParameter(ctx=ctx, param=command.params[0])
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
