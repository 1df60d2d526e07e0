"""The names that a federation's files are made of: hosts of its broker, and who is in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from pfedfrz_protocol import ConfigurationError, check_name

__all__ = ["COORDINATOR", "MONITOR", "check_account", "check_host", "host_address", "numbered"]

COORDINATOR = "coordinator"
MONITOR = "monitor"
_RESERVED = {COORDINATOR, MONITOR}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOST = 253


def check_account(kind: str, name: str) -> str:
    """`name`, if a member of that kind can have it; ConfigurationError otherwise."""
    check_name(kind, name)
    if name.lower() in _RESERVED:
        raise ConfigurationError(f"{kind} {name!r}: this account is somebody else's; rename it")
    return name


def numbered(count: int, taken: Collection[str]) -> list[str]:
    """The first `count` numbered names, without those that are taken (or were, and are revoked)."""
    names = (f"device-{number:02d}" for number in range(count))
    return [name for name in names if name not in taken]


def host_address(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that is written there; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def check_host(host: str) -> str:
    """`host`, if a certificate can be for it: a DNS name or an IP address."""
    address = host_address(host)
    if address is not None and "%" not in host:
        return str(address)
    digits = all(level.isdigit() for level in host.split("."))
    if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST or digits:
        raise ConfigurationError(
            f"host {host!r} is not usable: write the broker's DNS name or IP address alone, "
            "without scheme, port or wildcard"
        )
    return host


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """The values in their order, each once."""
    return tuple(dict.fromkeys(values))
