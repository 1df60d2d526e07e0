"""The `pfedfrz` command: one lazily loaded file per sub-command, one way to fail.

A board has neither torch nor matplotlib; a sub-command's code is imported when it is called.
Exit codes: 0 done, 1 failed, 2 asked for something that cannot be, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from pfedfrz_protocol import ConfigurationError, OperationError

from . import __version__

__all__ = ["cli", "main"]

_COMMANDS = {
    "emulate": "run a whole fleet on this machine: broker, coordinator, devices, attackers",
    "export": "make the bundle that devices train from",
    "inspect": "show what is in a bundle",
    "coordinator": "run the rounds of a federation",
    "device": "take part in a federation",
    "dataset": "fetch a dataset and say what it holds",
}


class _LazyGroup(click.Group):
    """Knows every sub-command's name and summary; imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pfedfrz.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pfedfrz")
def cli() -> None:
    """Personalized federated learning that trains on the board.

    Begin with:  pfedfrz emulate --dataset digits --devices 4 --rounds 3
    """


def main() -> None:
    """Run the command and turn every expected fault into one line and an exit code."""
    try:
        code = cli.main(prog_name="pfedfrz", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except ConfigurationError as error:
        code = _say(error, 2)
    except OperationError as error:
        code = _say(error, 2 if _is_unreachable(error) else 1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing is left running", err=True)
        code = 130
    except BrokenPipeError:
        # The reader of our output left (`| head`). Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(error: Exception, code: int) -> int:
    click.echo(f"error: {error}", err=True)
    return code


def _is_unreachable(error: OperationError) -> bool:
    """A broker that does not answer at the start is most often a wrong address: usage, 2."""
    from pfedfrz_transport import BrokerUnreachable

    return isinstance(error, BrokerUnreachable)
