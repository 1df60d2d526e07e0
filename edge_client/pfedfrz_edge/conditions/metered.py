"""Training only over a network that does not cost by the byte."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .system_files import SystemFiles

__all__ = ["METERED", "Metered"]

METERED = ("wwan*", "wwp*", "ppp*", "rmnet*")
"""Modems as Linux names them: wwan0, wwp0s20u4, ppp0, rmnet_data0."""

_IPV4, _IPV6 = "proc/net/route", "proc/net/ipv6_route"
_UP, _REJECT = 0x1, 0x200
_NOWHERE = "0" * 32


class Metered:
    """The interface of no default route, of IPv4 or IPv6, fits one of the patterns.

    Of several default routes of a kind the one with the lowest metric is in use. Without a default
    route nothing is metered: the broker is on the board's own network. When the table of IPv4
    cannot be read the device waits; there is none of IPv6 where the kernel has none.
    """

    name = "metered"

    def __init__(self, patterns: Sequence[str], files: SystemFiles) -> None:
        self._patterns = tuple(patterns)
        self._files = files
        self.value = ""

    def check(self) -> str | None:
        """None while no default route is metered."""
        table = self._files.text(_IPV4)
        if table is None:
            self.value = "cannot be read"
            return f"metered: /{_IPV4} cannot be read; take avoid_metered out of the TOML"
        routes = [_default_of_ipv4(table)]
        if self._files.exists(_IPV6):
            routes.append(_default_of_ipv6(self._files.text(_IPV6) or ""))
        used = sorted({interface for interface in routes if interface is not None})
        self.value = f"default route over {', '.join(used)}" if used else "no default route"
        for interface in used:
            if any(fnmatchcase(interface, pattern) for pattern in self._patterns):
                return f"metered: the default route is over {interface}"
        return None


def _default_of_ipv4(table: str) -> str | None:
    found = []
    for line in table.splitlines()[1:]:
        cells = line.split()
        if len(cells) < 8 or cells[1] != "0" * 8 or cells[7] != "0" * 8:
            continue
        if _hex(cells[3]) & _UP and not _hex(cells[3]) & _REJECT:
            found.append((_decimal(cells[6]), cells[0]))
    return min(found)[1] if found else None


def _default_of_ipv6(table: str) -> str | None:
    found = []
    for line in table.splitlines():
        cells = line.split()
        if len(cells) < 10 or cells[0] != _NOWHERE or cells[1] != "00" or cells[9] == "lo":
            continue
        if _hex(cells[8]) & _UP and not _hex(cells[8]) & _REJECT:
            found.append((_hex(cells[5]), cells[9]))
    return min(found)[1] if found else None


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _decimal(text: str) -> int:
    return int(text) if text.isdecimal() else 0
