"""What a person asks for, checked before anything is made."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, check_name

from .names import check_account, check_host, numbered, unique
from .registry import Accounts, Registry, Role
from .settings_files import DeviceData

__all__ = ["Request"]

_MOST_DEVICES = 20_000
_LONGEST_DAYS = 3650
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_UNQUOTABLE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Request:
    """None stands for what is not said: a new federation's default, or what it has already."""

    federation: str | None = None
    hosts: tuple[str, ...] = ()
    count: int = 0
    """So many numbered devices in all."""
    names: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()
    """Besides the one that every federation has."""
    accounts: Accounts | None = None
    port: int | None = None
    bind: str | None = None
    broker_directory: str | None = None
    broker_user: str | None = None
    certificate_days: int = 730
    renew: bool = False
    data: DeviceData = field(default_factory=DeviceData)
    wheel: Path | None = None
    """What boards install at their first start; files for that are made when it is given."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for what no federation can have."""
        if self.federation is not None:
            check_name("federation", self.federation)
        object.__setattr__(self, "hosts", unique(map(check_host, self.hosts)))
        for role, names in self.named.items():
            for name in names:
                check_account(role.value, name)
        if self.bind:
            check_host(self.bind)
        if not 0 <= self.count <= _MOST_DEVICES:
            raise ConfigurationError(f"{self.count} devices (want 0 to {_MOST_DEVICES})")
        roles = Counter(numbered(self.count, self.names))
        for names in self.named.values():
            roles.update(set(names))
        for name in (name for name, count in roles.items() if count > 1):
            raise ConfigurationError(f"{name!r} is asked for as two members: rename one of them")
        if self.port is not None and not 1 <= self.port <= 65_535:
            raise ConfigurationError(f"port {self.port} (want 1 to 65535)")
        if not 1 <= self.certificate_days <= _LONGEST_DAYS:
            raise ConfigurationError(
                f"certificates for {self.certificate_days} days (want 1 to {_LONGEST_DAYS})"
            )
        if self.broker_user is not None and not _USER.fullmatch(self.broker_user):
            raise ConfigurationError(f"broker user {self.broker_user!r} is no user's name")
        place = self.broker_directory
        if place is not None and (not place.startswith("/") or _UNQUOTABLE.search(place)):
            raise ConfigurationError(
                f"broker directory {place!r}: want an absolute path without spaces, which "
                "Mosquitto's configuration cannot hold"
            )

    def new_devices(self, registry: Registry | None) -> list[str]:
        """The devices to make: numbered ones up to the count, and the named ones that are not yet.

        A revoked device comes back only by its name.
        """
        members = set(registry.members) if registry else set()
        gone = {revoked.name for revoked in registry.revoked} if registry else set()
        wanted = unique([*numbered(self.count, members | gone), *self.names])
        return [name for name in wanted if name not in members]

    @property
    def named(self) -> dict[Role, tuple[str, ...]]:
        """The names that were given, by what they are for."""
        return {
            Role.DEVICE: self.names,
            Role.OPERATOR: self.operators,
            Role.MONITOR: self.monitors,
        }

    def new_watchers(self, registry: Registry | None) -> list[tuple[str, Role]]:
        """The operators and monitors to make: those that are not there yet."""
        members = registry.members if registry else {}
        return [
            (name, role)
            for role, names in self.named.items()
            for name in unique(names)
            if role is not Role.DEVICE and name not in members
        ]

    def contradiction(self, registry: Registry) -> str | None:
        """Why this cannot be asked of a federation that is there; None when it can."""
        for what, asked, there in (
            ("federation", self.federation, registry.federation),
            ("accounts", self.accounts, registry.accounts),
            ("port", self.port, registry.port),
            ("bind", self.bind, registry.bind),
            ("broker directory", self.broker_directory, registry.broker_directory),
            ("broker user", self.broker_user, registry.broker_user),
        ):
            if asked is not None and asked != there:
                there = there.value if isinstance(there, Accounts) else there
                asked = asked.value if isinstance(asked, Accounts) else asked
                return f"its {what} is {there!r}, not {asked!r}: choose another directory"
        for role, names in self.named.items():
            for name in names:
                there_is = registry.members.get(name)
                if there_is is not None and there_is.role is not role:
                    return f"{name!r} is its {there_is.role.value} already: choose another name"
        if self.hosts and self.hosts != registry.hosts and not self.renew:
            return (
                f"its broker's certificate is for {', '.join(registry.hosts)}: to change the hosts "
                "add --renew-certificates"
            )
        return None
