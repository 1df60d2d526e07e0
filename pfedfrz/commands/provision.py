"""`pfedfrz provision`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from .sections import SectionedCommand, option

if TYPE_CHECKING:
    from pfedfrz_provision import Provisioned

__all__ = ["command"]

_NEW, _MEMBERS, _BROKER = "A new federation", "Members", "Broker"


@click.command("provision", cls=SectionedCommand)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@option(_NEW, "--federation", metavar="NAME", help="Its name on all topics.")
@option(
    _NEW,
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="The broker's DNS name or IP address; repeatable, members connect to the first.",
)
@option(
    _NEW,
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What devices train; `pfedfrz export` makes it.",
)
@option(
    _NEW,
    "--accounts",
    type=click.Choice(["password", "certificate"]),
    metavar="KIND",
    help="password or certificate: how members show the broker who they are.  [default: password]",
)
@option(
    _MEMBERS,
    "--devices",
    "count",
    type=int,
    default=0,
    metavar="N",
    help="So many in all, numbered from device-00; those that are there already count.",
)
@option(_MEMBERS, "--device", "names", multiple=True, metavar="NAME", help="Repeatable.")
@option(
    _MEMBERS,
    "--operator",
    "operators",
    multiple=True,
    metavar="NAME",
    help="Who may watch, pause, let in and throw out; repeatable.",
)
@option(
    _MEMBERS,
    "--monitor",
    "monitors",
    multiple=True,
    metavar="NAME",
    help="Who may watch, besides `monitor`: one account, one watcher at a time; repeatable.",
)
@option(_MEMBERS, "--revoke", metavar="NAME", help="Take this device, operator or monitor out.")
@option(
    _MEMBERS,
    "--train",
    default="train.npz",
    metavar="SOURCE",
    help="Samples on the new boards, from device.toml's folder: PATH.npz, folder:PATH, csv:PATH or "
    "factory:FILE.py:FUNCTION.  [default: train.npz]",
)
@option(_MEMBERS, "--test", metavar="SOURCE", help="The same, for accuracies.  [default: none]")
@option(
    _MEMBERS,
    "--runtime",
    default="onnxruntime",
    metavar="NAME",
    help="Of the new boards.  [default: onnxruntime]",
)
@option(
    _MEMBERS,
    "--first-boot",
    "wheel",
    type=click.Path(path_type=Path),
    metavar="WHEEL",
    help="Also make first-boot.sh and cloud-init's user-data in the devices' folders, with which a "
    "flashed card installs this wheel of pfedfrz and enrols by itself.",
)
@option(_BROKER, "--port", type=int, metavar="N", help="For TLS.  [default: 8883]")
@option(_BROKER, "--bind", metavar="ADDRESS", help="Listen there only.  [default: everywhere]")
@option(
    _BROKER,
    "--broker-user",
    metavar="NAME",
    help="Who runs the broker and owns its files.  [default: who runs this]",
)
@option(
    _BROKER,
    "--broker-directory",
    metavar="PATH",
    help="Where the broker's files will be on its machine.  [default: DIR/broker]",
)
@option(
    _BROKER,
    "--renew-certificates",
    "renew",
    is_flag=True,
    help="Issue the broker's and all members' certificates anew, for the same keys.",
)
@option(
    _BROKER,
    "--certificate-days",
    type=int,
    default=730,
    metavar="N",
    help="How long certificates of this call are good.  [default: 730]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    directory: Path,
    federation: str | None,
    hosts: tuple[str, ...],
    bundle: Path | None,
    accounts: str | None,
    count: int,
    names: tuple[str, ...],
    operators: tuple[str, ...],
    monitors: tuple[str, ...],
    revoke: str | None,
    train: str,
    test: str | None,
    runtime: str,
    wheel: Path | None,
    port: int | None,
    bind: str | None,
    broker_user: str | None,
    broker_directory: str | None,
    renew: bool,
    certificate_days: int,
    as_json: bool,
) -> None:
    """Make DIR: keys, accounts, certificates and configurations of a federation.

    Called again with more devices it adds those, and nothing that is there is made anew. DIR holds
    every secret of the federation; docs/provisioning.md says who gets what.

    \b
    Examples:  pfedfrz provision fleet --federation lab --host broker.lan \\
                   --bundle model.pfz --devices 3
               pfedfrz provision fleet --devices 5
               pfedfrz provision fleet --first-boot dist/pfedfrz-*.whl
               pfedfrz provision fleet --operator anna
               pfedfrz provision fleet --revoke device-01
               pfedfrz provision fleet --renew-certificates
    """
    from pfedfrz_provision import Accounts, DeviceData, Request, provision
    from pfedfrz_provision import revoke as take_out

    if revoke is not None:
        others = (federation, hosts, bundle, accounts, count, names, port, bind, renew, wheel)
        if any((*others, operators, monitors)) or broker_user or broker_directory:
            raise click.UsageError("--revoke goes with no other option but --json")
        done = take_out(directory, revoke)
    else:
        request = Request(
            federation=federation,
            hosts=hosts,
            count=count,
            names=names,
            operators=operators,
            monitors=monitors,
            accounts=Accounts(accounts) if accounts else None,
            port=port,
            bind=bind,
            broker_directory=broker_directory,
            broker_user=broker_user,
            certificate_days=certificate_days,
            renew=renew,
            data=DeviceData(train, test, runtime),
            wheel=wheel,
        )
        done = provision(directory, request, bundle)
    if as_json:
        click.echo(msgspec.json.encode(done))
        return
    for line in _describe(done, revoke):
        click.echo(line)


def _describe(done: Provisioned, revoked: str | None) -> list[str]:
    from pfedfrz_provision import Role

    coordinator = f"{done.directory}/coordinator"
    if revoked is not None and done.taken_out is not Role.DEVICE:
        lines = [f"{revoked} is out of {done.federation}", *_reload_broker(done)]
        if done.taken_out is Role.OPERATOR:
            lines.append(
                f"  the coordinator's copy of {coordinator}/operators.toml, if it is elsewhere: "
                "copy it"
            )
        return lines
    if revoked is not None:
        return [
            f"{revoked} is out of {done.federation}: {len(done.devices)} devices are left",
            *_reload_broker(done),
            f"  make its key useless: pfedfrz devices revoke {revoked} --config "
            f"{coordinator}/coordinator.toml",
            f"  the coordinator's copy of {coordinator}/devices.toml, if it is elsewhere: copy it",
        ]
    lines = [
        f"{done.directory}: federation {done.federation}, {len(done.devices)} devices, accounts "
        f"by {done.accounts.value}, broker mqtts://{done.hosts[0]}:{done.port}"
    ]
    if done.certificates_until:
        lines.append(
            f"certificates of this call end on {done.certificates_until}; before that: "
            f"pfedfrz provision {done.directory} --renew-certificates"
        )
    if done.is_new:
        lines += _first_steps(done)
    elif done.added or done.new_watchers or done.renewed:
        lines += _reload_broker(done)
        lines.append(
            f"  the coordinator's copy of {coordinator}, if it is elsewhere: copy what is new"
        )
    else:
        lines.append("nothing was asked for that is not there already")
    if done.renewed and done.accounts.value == "certificate":
        lines.append("  tls.pem of every member: to its board; its key stays")
    lines += [
        f"  {done.directory}/devices/{name}/first-boot.sh: prepare-card.sh puts it on its card"
        for name in done.first_boot
    ]
    lines += [f"  new: {done.directory}/devices/{name}  to its board" for name in done.added]
    lines += [
        f"  new: {done.directory}/{folder}  to whom it is for" for folder in done.new_watchers
    ]
    if not done.knows_operators:
        lines.append(
            f'  write operators = "operators.toml" above the tables of {coordinator}/'
            "coordinator.toml, which is older than its operators"
        )
    return lines


def _first_steps(done: Provisioned) -> list[str]:
    broker, own = done.broker_directory, f"{done.directory}/broker"
    lines = [
        f"keep {done.directory}/authority to yourself: who has it can admit anybody",
        "now:",
    ]
    if broker != own:
        lines.append(f"  copy {own} to {broker} on the broker's machine, for {done.broker_user}")
    if done.broker_user == "root":
        lines.append("  (the broker would run as root: --broker-user mosquitto is better)")
    return [
        *lines,
        f"  mosquitto -c {broker}/mosquitto.conf",
        f"  pfedfrz coordinator --config {done.directory}/coordinator/coordinator.toml",
        "  pfedfrz device --config device.toml       on each board, in its folder",
        f"  XDG_CONFIG_HOME={done.directory}/monitor mosquitto_sub -t 'pfedfrz/#' -v",
    ]


def _reload_broker(done: Provisioned) -> list[str]:
    own = f"{done.directory}/broker"
    lines = ["  make the broker read its files again: kill -HUP its process"]
    if done.broker_directory != own:
        lines.insert(0, f"  copy {own} to {done.broker_directory} on the broker's machine")
    return lines
