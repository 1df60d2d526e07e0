"""`pfedfrz monitor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pfedfrz_protocol import OperationError

from .sections import SectionedCommand, option

if TYPE_CHECKING:
    from pfedfrz_monitor.replay import ReplayWatch
    from pfedfrz_monitor.settings import MonitorSettings, WebSettings
    from pfedfrz_monitor.watch import Watch

__all__ = ["command"]

_WHAT, _HOW, _BROKER, _HOME = "What to watch", "How to show it", "The broker", "Home Assistant"
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("monitor", cls=SectionedCommand)
@option(_WHAT, "--config", type=_FILE, metavar="FILE", help="A monitor's TOML file; options win.")
@option(
    _WHAT,
    "--federation",
    metavar="NAME",
    help="Which one.  [default: the only one on the broker]",
)
@option(
    _WHAT,
    "--replay",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="STATE_DIR",
    help="A run that is over, or its coordinator's state so far, once more.",
)
@option(
    _WHAT,
    "--speed",
    type=click.FloatRange(min=0.01),
    default=1.0,
    metavar="X",
    help="So many times as quick as it was.  [default: 1]",
)
@option(_BROKER, "--broker", metavar="URL", help="Its address.  [default: mqtt://127.0.0.1:1883]")
@option(_BROKER, "--password-file", type=_FILE, metavar="FILE", help="The account's password.")
@option(_BROKER, "--ca-file", type=_FILE, metavar="FILE", help="Whom to trust as a broker.")
@option(
    _BROKER,
    "--operator",
    metavar="NAME",
    help="Who we are to the coordinator; without it nothing can be changed from here.",
)
@option(
    _BROKER, "--operator-key", type=_FILE, metavar="FILE", help="The private key that goes with it."
)
@option(
    _HOW,
    "--web",
    is_flag=False,
    flag_value="",
    metavar="[HOST:PORT]",
    help="Serve a page instead.  [default: 127.0.0.1:8765]",
)
@option(_HOW, "--plain", is_flag=True, help="Plain lines; the default where there is no terminal.")
@option(_HOW, "--json", "as_json", is_flag=True, help="A JSON object a line.")
@option(
    _HOME,
    "--home-assistant",
    is_flag=True,
    help="Show the federation in Home Assistant, by MQTT discovery.",
)
@option(_HOME, "--home-assistant-remove", is_flag=True, help="Take it out of there again.")
@option(
    _HOME,
    "--discovery-prefix",
    default="homeassistant",
    metavar="TOPIC",
    help="Home Assistant's own.  [default: homeassistant]",
)
@option(
    _HOME,
    "--most-devices",
    type=click.IntRange(0, 4000),
    default=200,
    metavar="N",
    help="So many devices are shown there.  [default: 200]",
)
def command(
    config: Path | None,
    federation: str | None,
    replay: Path | None,
    speed: float,
    broker: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    operator: str | None,
    operator_key: Path | None,
    web: str | None,
    plain: bool,
    as_json: bool,
    home_assistant: bool,
    home_assistant_remove: bool,
    discovery_prefix: str,
    most_devices: int,
) -> None:
    """Watch a federation: rounds, devices, accuracies, who was refused and why.

    In a terminal it is a screen, with keys to pause, accept, quarantine and revoke for whoever
    has an operator's key; redirected to a file it is plain lines.

    \b
    Examples:
      pfedfrz monitor
      pfedfrz monitor --config monitor.toml
      pfedfrz monitor --broker mqtt://broker.local:1883 --federation lab --web
      pfedfrz monitor --config monitor.toml --json | jq .text
    """
    _check_together(web, plain or as_json, home_assistant or home_assistant_remove, replay)
    if replay is not None:
        _check_replay(federation, broker, operator)
        from pfedfrz_monitor.replay import open_replay

        settings = None if config is None else _load(config)
        watch = open_replay(replay, speed)
        labels = {**watch.labels, **({} if settings is None else settings.labels)}
        web_settings = _web(settings, web)
        _show(watch, labels, web_settings, plain=plain, as_json=as_json, replay=watch)
        return
    settings = _settings(config, federation, broker, password_file, ca_file, operator, operator_key)
    if home_assistant or home_assistant_remove:
        from pfedfrz_monitor.home_assistant import Place, remove_from, show_in

        place = Place(settings.federation, discovery_prefix)
        if home_assistant_remove:
            remove_from(settings, place, say=_say)
        else:
            show_in(settings, place, most_devices=most_devices, say=_say)
        return
    from pfedfrz_monitor.watch import open_watch

    _show(open_watch(settings), settings.labels, _web(settings, web), plain=plain, as_json=as_json)


def _check_together(web: str | None, plain: bool, home: bool, replay: Path | None) -> None:
    chosen = [name for name, is_on in (("--web", web is not None), ("--plain or --json", plain),
                                       ("--home-assistant", home)) if is_on]  # fmt: skip
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} do not go together: choose one")
    if home and replay is not None:
        raise click.UsageError("--replay is for people: it is not shown in Home Assistant")


def _check_replay(federation: str | None, broker: str | None, operator: str | None) -> None:
    given = {"--federation": federation, "--broker": broker, "--operator": operator}
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"--replay reads files: {name} means nothing there")


def _load(config: Path) -> MonitorSettings:
    from pfedfrz_monitor.settings import load_monitor_settings

    return load_monitor_settings(config)


def _settings(
    config: Path | None,
    federation: str | None,
    broker: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    operator: str | None,
    operator_key: Path | None,
) -> MonitorSettings:
    """What the file and the options say together; the federation is looked for if need be."""
    from pfedfrz_monitor.find_federation import find_federation
    from pfedfrz_monitor.settings import MonitorSettings
    from pfedfrz_transport import TlsSettings, open_access

    given: dict[str, object] = {
        "federation": federation,
        "broker": broker,
        "password_file": password_file,
        "tls": None if ca_file is None else TlsSettings(ca_file=ca_file),
        "operator": operator,
        "operator_key_file": operator_key,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if config is not None:
        return msgspec.structs.replace(_load(config), **given)
    if federation is None:
        # The name is not known yet, and everything else is checked before we connect.
        wanted = MonitorSettings(**{**given, "federation": "any"})  # type: ignore[arg-type]
        access = open_access(wanted.broker, wanted.tls, wanted.password_file)
        given["federation"] = find_federation(access, connect_timeout_s=wanted.connect_timeout_s)
    return MonitorSettings(**given)  # type: ignore[arg-type]


def _web(settings: MonitorSettings | None, listen: str | None) -> WebSettings | None:
    """What `--web` asks for; None without it."""
    if listen is None:
        return None
    from pfedfrz_monitor.settings import WebSettings

    web = WebSettings() if settings is None else settings.web
    return msgspec.structs.replace(web, listen=listen) if listen else web


def _show(
    watch: Watch,
    labels: Mapping[str, str],
    web: WebSettings | None,
    *,
    plain: bool,
    as_json: bool,
    replay: ReplayWatch | None = None,
) -> None:
    """Start the watch and show it until somebody ends it."""
    from pfedfrz_monitor.watch import started

    if web is not None:
        from pfedfrz_monitor.web import serve

        if replay is not None:
            replay.pause()  # until somebody looks: a short run would be over before
        with started(watch):
            if replay is None:
                serve(watch, web, labels, say=_say)
            else:
                serve(watch, web, labels, say=_say, on_first_page=replay.resume)
        return
    if not (plain or as_json):
        why = _why_no_screen()
        plain = bool(why)
        if why and sys.stdout.isatty():
            click.echo(f"{why}: plain lines instead", err=True)
    if not (plain or as_json):
        from pfedfrz_monitor.terminal import run_terminal

        with started(watch):
            run_terminal(watch, labels)
    else:
        from pfedfrz_monitor.plain_lines import run_plain

        with started(watch):
            if replay is None:
                run_plain(watch, labels, out=sys.stdout, as_json=as_json)
            else:
                run_plain(
                    watch,
                    labels,
                    out=sys.stdout,
                    as_json=as_json,
                    settle_s=0.0,
                    is_over=lambda: replay.is_over,
                )
    if watch.health.given_up:
        raise OperationError(watch.health.fault)


def _why_no_screen() -> str:
    """Why nothing can be drawn here; nothing where it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "this is no terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "TERM=dumb can show no screen"
    if "utf" not in (sys.stdout.encoding or "").lower():
        return f"the terminal's encoding is {sys.stdout.encoding}, and the screen needs UTF-8"
    return ""


def _say(text: str) -> None:
    click.echo(text, err=True)
