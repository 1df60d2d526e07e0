"""Who may see the page and who may act: hosts, origins and the token.

A browser that shows another site can be made to ask this server too. So requests are answered only
under names that lead here on purpose (against DNS rebinding), and what acts comes from the page
itself. The token is for people: it travels in the part of the address that browsers keep to
themselves, and from there in a header.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pfedfrz_monitor.settings import WebSettings
from pfedfrz_protocol import ConfigurationError

__all__ = ["Access", "Listen", "read_token"]

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_TOKEN_LEAST = 16
_TOKEN_MOST = 512


@dataclass(frozen=True)
class Listen:
    """Where the page is served."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """HOST:PORT, an IPv6 address in brackets; ConfigurationError says what is wrong."""
        host, colon, port = text.rpartition(":")
        wrong = ConfigurationError(
            f"{text!r} is no place to listen on: give HOST:PORT, such as 127.0.0.1:8765"
        )
        if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise wrong
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise wrong
        if int(port) > 65535:
            raise wrong
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        address = _address(self.host)
        return self.host == "localhost" if address is None else address.is_loopback

    @property
    def is_everywhere(self) -> bool:
        """Whether it is every address of this machine."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def netloc(self) -> str:
        """As it stands in a URL on this machine."""
        host = self.host
        if self.is_everywhere:
            host = "127.0.0.1"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True)
class Access:
    """The rules of one server."""

    listen: Listen
    hosts: tuple[str, ...] = ()
    acts: bool = False
    """Whether there is anything that may be done."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @classmethod
    def of(cls, web: WebSettings, listen: Listen, *, acts: bool) -> Access:
        """As configured; ConfigurationError for a token file that cannot be used."""
        if web.token_file is None:
            return cls(listen, web.hosts, acts)
        return cls(listen, web.hosts, acts, read_token(web.token_file))

    @property
    def reading_needs_token(self) -> bool:
        """Whether others than this machine's people could look."""
        return not self.listen.is_loopback

    @property
    def needs_token(self) -> bool:
        """Whether the token is good for anything."""
        return self.acts or self.reading_needs_token

    def is_known_host(self, header: str) -> bool:
        """Whether a Host header is one of ours; a number cannot be rebound, a name can."""
        host = _without_port(header).lower()
        ours = {*_LOOPBACK_NAMES, self.listen.host.lower(), *(name.lower() for name in self.hosts)}
        if host in ours or header.lower() in ours or host.strip("[]") in ours:
            return True
        return self.listen.is_everywhere and _address(host.strip("[]")) is not None

    def is_own_origin(self, origin: str | None, host: str) -> bool:
        """Whether a request comes from the page: browsers say so with all that acts."""
        if origin is None:
            return False
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")

    def knows(self, authorization: str | None) -> bool:
        """Whether an Authorization header has the token."""
        given = (authorization or "").encode()
        return hmac.compare_digest(given, f"Bearer {self.token}".encode())


def read_token(path: Path) -> str:
    """The token in a file with mode 0600; ConfigurationError says what to mend."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(_TOKEN_MOST + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the page's token cannot be read from {path}: {error.strerror or error}"
        ) from error
    if mode & 0o077:
        raise ConfigurationError(
            f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"
        )
    token = content.decode("ascii", errors="replace").strip()
    if not _TOKEN_LEAST <= len(token) <= _TOKEN_MOST or not _is_plain(token):
        raise ConfigurationError(
            f"{path} needs one line of {_TOKEN_LEAST} to {_TOKEN_MOST} letters, digits, - or _, "
            "such as `openssl rand -hex 24` makes"
        )
    return token


def _is_plain(token: str) -> bool:
    return token.isascii() and token.replace("-", "a").replace("_", "a").isalnum()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
