"""`pfedfrz devices`: who takes part in a federation, said where its coordinator runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from pfedfrz_coordinator.device_bundles import DeviceBundle
    from pfedfrz_coordinator.registry import Registry, RegistryRow

__all__ = ["command", "config_option", "opened_registry"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TITLES = (
    "device",
    "standing",
    "key",
    "bundle",
    "accepted",
    "rejected",
    "messages",
    "MB",
    "ignored",
)


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option for which coordinator is meant."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help="The coordinator's TOML file.",
    )(function)


@contextmanager
def opened_registry(config: Path) -> Iterator[Registry]:
    """The registry of the coordinator that is configured so, closed at the end.

    Raises ConfigurationError when there is none yet, and OperationError.
    """
    from pfedfrz_coordinator.configuration import load_coordinator_settings
    from pfedfrz_coordinator.registry import Registry

    registry = Registry(load_coordinator_settings(config).state_dir, create=False)
    try:
        yield registry
    finally:
        registry.close()


@click.group("devices")
def command() -> None:
    """See, let in and keep out the devices of a federation.

    The coordinator may be running: it follows within a second.

    \b
    Examples:
      pfedfrz devices list --config coordinator.toml
      pfedfrz devices permit-join --config coordinator.toml --for 10m
      pfedfrz devices revoke pi-3 --config coordinator.toml
    """


@command.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(config: Path, as_json: bool) -> None:
    """Show every device: its standing, key and bundle, and what it has sent."""
    from pfedfrz_coordinator.configuration import load_coordinator_settings
    from pfedfrz_coordinator.device_bundles import read_device_bundles

    bundles = read_device_bundles(load_coordinator_settings(config).state_dir)
    with opened_registry(config) as registry:
        rows, window_s = registry.rows(), registry.permit_join_s()
    if as_json:
        content = {"permit_join_s": window_s, "devices": rows, "bundles": bundles}
        click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))
        return
    for line in _table(rows, bundles):
        click.echo(line)
    left = f"open for another {window_s:.0f} s" if window_s else "closed"
    click.echo(f"permit-join window: {left}")


@command.command("permit-join")
@config_option
@click.option("--for", "duration", default="10m", metavar="TIME", help="As 90s, 10m, 2h or 0s.")
def permit_join_command(config: Path, duration: str) -> None:
    """Let in every new device that asks, for a while; 0s ends it."""
    seconds = _seconds(duration)
    with opened_registry(config) as registry:
        registry.permit_join(seconds)
    click.echo(f"new devices are let in for {seconds:g} s" if seconds else "the window is closed")


@command.command("accept")
@config_option
@click.argument("device")
@click.option("--key", metavar="HEX", help="Its public key.  [default: the one it asked with]")
def accept_command(config: Path, device: str, key: str | None) -> None:
    """Let one device in, or let it in again with a new key."""
    _check_accept_list(config, device, key)
    with opened_registry(config) as registry:
        registry.accept(device, key)
        row = registry.find(device)
    click.echo(f"{device} is enrolled with the key {row.key if row else key}")


@command.command("revoke")
@config_option
@click.argument("device")
def revoke_command(config: Path, device: str) -> None:
    """Make a device's key good for nothing, for ever: a stolen board, a copied card."""
    with opened_registry(config) as registry:
        registry.revoke(device)
    click.echo(
        f"the key of {device} is revoked; with a new key it can be accepted again. Take its "
        "account off the broker too"
    )


@command.command("quarantine")
@config_option
@click.argument("device")
@click.option("--reason", default="", metavar="TEXT", help="For `devices list`.")
def quarantine_command(config: Path, device: str, reason: str) -> None:
    """Keep a device out until it is readmitted."""
    from pfedfrz_protocol.one_line import one_line

    why = one_line(f"by command: {reason}" if reason else "by command", 300)
    with opened_registry(config) as registry:
        registry.keep_out(device, why)
    click.echo(f"{device} is kept out; to let it back: pfedfrz devices readmit {device}")


@command.command("readmit")
@config_option
@click.argument("device")
def readmit_command(config: Path, device: str) -> None:
    """Let a quarantined device back."""
    with opened_registry(config) as registry:
        registry.readmit(device)
    click.echo(f"{device} is back")


def _check_accept_list(config: Path, device: str, key: str | None) -> None:
    """What the accept list says of a device is taken over at every start: it must not differ."""
    from pfedfrz_coordinator.configuration import load_coordinator_settings
    from pfedfrz_coordinator.key_lists import read_accept_list

    path = load_coordinator_settings(config).enrolment.devices
    listed = None if path is None else read_accept_list(path).get(device)
    if key is not None and listed not in (None, key):
        raise click.UsageError(f"{path} has another key for {device}: change it there instead")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise click.UsageError(f"--for {text}: write a number and s, m, h or d, such as 10m")
    return float(found[1]) * _UNITS[found[2]]


def _table(rows: list[RegistryRow], bundles: Mapping[str, DeviceBundle]) -> list[str]:
    """The devices as aligned columns; behind them why one is out, waits, or keeps its bundle."""
    if not rows:
        return ["no device has been heard of yet"]
    cells = [
        (
            row.name,
            row.standing.value,
            f"{row.key[:12]}...",
            f"{bundles[row.name].bundle[:12]}..." if row.name in bundles else "",
            str(row.accepted),
            str(row.rejected),
            str(row.messages),
            f"{row.bytes / 1e6:.1f}",
            str(row.ignored),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(_TITLES, *cells, strict=True)]
    lines = [_TITLES, *cells]
    reasons = ["", *(row.reason or _wait(row) or _refusal(bundles.get(row.name)) for row in rows)]
    return [
        "  ".join(
            [
                *(cell.ljust(w) for cell, w in zip(line[:4], widths, strict=False)),
                *(cell.rjust(w) for cell, w in zip(line[4:], widths[4:], strict=True)),
                reason,
            ]
        ).rstrip()
        for line, reason in zip(lines, reasons, strict=True)
    ]


def _wait(row: RegistryRow) -> str:
    return f"waits: {row.waiting_for}" if row.waiting_for else ""


def _refusal(known: DeviceBundle | None) -> str:
    """Why a device has not taken the bundle that it was offered."""
    if known is None or known.answer != "refused" or known.answered == known.bundle:
        return ""
    return f"refused the bundle {known.answered[:12]}...: {known.detail}"
