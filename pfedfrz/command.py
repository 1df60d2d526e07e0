"""The `pfedfrz` command: one lazily loaded file per sub-command, one way to fail.

A board has neither torch nor matplotlib; a sub-command's code is imported when it is called.
Exit codes: 0 done, 1 failed, 2 asked for something that cannot be, 130 interrupted.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from pfedfrz_protocol import ConfigurationError, PfedfrzError

from . import __version__

__all__ = ["cli", "main", "run"]

_COMMANDS = {
    "emulate": "run a whole fleet on this machine, attackers included",
    "study": "run many federations and compare them, as the poster does",
    "export": "make the bundle that devices train from",
    "inspect": "show what is in a bundle",
    "doctor": "measure what a bundle costs on this board",
    "provision": "make keys, accounts and certificates of a federation",
    "coordinator": "run the rounds of a federation",
    "monitor": "watch a federation, and pause it or throw a device out",
    "worker": "take uploads for a coordinator that has too many for one process",
    "pause": "open no further round of a federation",
    "resume": "open rounds of a paused federation again",
    "report": "make the report of a federation from its journal, at any time",
    "runs": "list, compare and export the runs that are on the disk",
    "devices": "see, let in and keep out the devices of a federation",
    "device": "take part in a federation",
    "rotate-key": "give a device or the coordinator a new key",
    "dataset": "fetch a dataset and say what it holds",
}

_EXTRAS = {
    "emulate": "emulator",
    "study": "emulator",
    "dataset": "emulator",
    "export": "export",
    "device": "onnxruntime",
    "monitor": "monitor",
}
"""What to install when a sub-command's packages are missing."""

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _LazyGroup(click.Group):
    """Knows every sub-command's name and summary; imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pfedfrz.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            # Only for other people's packages: a missing file of ours is a defect.
            extra = _EXTRAS.get(ctx.invoked_subcommand or "")
            package = (error.name or "").partition(".")[0]
            if extra is None or package.startswith("pfedfrz"):
                raise
            raise ConfigurationError(
                f"pfedfrz {ctx.invoked_subcommand} needs the package {package}, which is not "
                f"installed; pip install 'pfedfrz[{extra}]'"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pfedfrz")
def cli() -> None:
    """Personalized federated learning that trains on the board.

    \b
    Begin with:  pfedfrz emulate --dataset digits --devices 4 --rounds 3
    """


def main() -> None:
    """The entry point: `run` with this process's arguments and signals."""
    _interrupt_on_termination()
    code = run(sys.argv[1:])
    # All is done but for the interpreter's end: one more Ctrl-C would only print a traceback.
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """The exit code of the command, every expected fault told in one line."""
    try:
        code = cli.main(list(arguments), prog_name="pfedfrz", standalone_mode=False)
    except click.UsageError as error:
        return _show_usage_error(error)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except PfedfrzError as error:
        return _say(error, 2 if _is_usage(error) else 1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing is left running", err=True)
        return 130
    return code if isinstance(code, int) else 0


def _interrupt_on_termination() -> None:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does, with everything cleaned up.

    `device`, `coordinator` and `worker` put handlers of their own in place of these.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in _INTERRUPTS:
        # Where it is ignored, as SIGHUP is under nohup, it stays ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def _show_usage_error(error: click.UsageError) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return error.exit_code
    path = error.ctx.command_path if error.ctx else "pfedfrz"
    message = error.format_message().rstrip(".")
    return _say(f"{message[:1].lower()}{message[1:]} (see `{path} --help`)", error.exit_code)


def _say(error: object, code: int) -> int:
    click.echo(f"error: {error}", err=True)
    return code


def _is_usage(error: PfedfrzError) -> bool:
    """A broker that does not answer at the start is most often a wrong address: usage, 2."""
    from pfedfrz_transport import BrokerUnreachable

    return isinstance(error, (ConfigurationError, BrokerUnreachable))
