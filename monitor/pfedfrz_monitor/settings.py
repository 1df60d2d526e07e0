"""What a watcher is told: the TOML file of a monitor or an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pfedfrz_protocol import ConfigurationError, PublicKey, check_name
from pfedfrz_storage import read_configuration
from pfedfrz_transport import TlsSettings

__all__ = ["MonitorSettings", "WebSettings", "load_monitor_settings"]


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[web]`: the page."""

    listen: str = "127.0.0.1:8765"
    """HOST:PORT; another host than loopback lets others see the page."""
    hosts: tuple[str, ...] = ()
    """Further names by which browsers reach the page; others are refused, against rebinding."""
    token_file: Path | None = None
    """Whoever knows the token in it may pause and throw out; by default one is made for the run."""


class MonitorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a watcher is told; relative paths start at the file's folder."""

    federation: str
    broker: str = "mqtt://127.0.0.1:1883"
    password_file: Path | None = None
    """The password of the user in the broker's URL, in a file with mode 0600."""
    tls: TlsSettings = TlsSettings()
    connect_timeout_s: float = 10.0
    """How long the broker may take to answer at the start."""
    coordinator_key: PublicKey | None = None
    """The public key of the coordinator; without it the first one that is heard is believed."""
    operator: str | None = None
    """The name by which the coordinator knows us; without it we only watch."""
    operator_key_file: Path | None = None
    """The private key that goes with it."""
    labels: dict[str, Annotated[str, Meta(max_length=60)]] = {}
    """What devices are called here, such as "kitchen"."""
    web: WebSettings = WebSettings()

    def __post_init__(self) -> None:
        check_name("federation", self.federation)
        if self.operator is not None:
            check_name("operator", self.operator)
        if (self.operator is None) != (self.operator_key_file is None):
            raise ConfigurationError(
                "operator and operator_key_file belong together: give both or neither"
            )


def load_monitor_settings(path: Path) -> MonitorSettings:
    """The settings in `path`; ConfigurationError names the file, the key and the remedy."""
    settings = read_configuration(path, MonitorSettings)
    here, web = path.parent, settings.web
    if web.token_file is not None:
        web = msgspec.structs.replace(web, token_file=here / web.token_file)
    key_file, password_file = settings.operator_key_file, settings.password_file
    return msgspec.structs.replace(
        settings,
        password_file=None if password_file is None else here / password_file,
        operator_key_file=None if key_file is None else here / key_file,
        tls=settings.tls.below(here),
        web=web,
    )
