"""Where the broker is and how to talk to it; secrets never show in a repr, a log or an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pfedfrz_protocol.errors import ConfigurationError

from .backoff import BackoffPolicy
from .link import LinkLimits

__all__ = ["BrokerAddress", "MqttOptions"]

_FORM = "write mqtt://[user[:password]@]host[:port], or mqtts:// for TLS"
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker and the account on it."""

    host: str
    port: int = 1883
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """The address that a URL names; raises `ConfigurationError`."""
        shown = _redacted(url)
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname
        except ValueError:
            # The cause is cut off and the URL not shown: a "/" or "#" in a password leads here.
            raise ConfigurationError(
                f"broker URL with a bad host or port; {_FORM}, with special characters of the "
                "account percent-encoded"
            ) from None
        if parts.scheme not in _PORTS:
            raise ConfigurationError(f"broker URL {shown!r} is not understood; {_FORM}")
        if not host or port == 0:
            raise ConfigurationError(
                f"broker URL {shown!r} names no {'port' if host else 'host'}; {_FORM}"
            )
        if not host.isprintable() or set("[]") & set(host):
            # urlsplit takes brackets anywhere; what is left of them is no name.
            raise ConfigurationError(f"broker URL {shown!r} names no host that can be; {_FORM}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigurationError(f"broker URL {shown!r} has something after the port; {_FORM}")
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password is not None else None
        if password is not None and username is None:
            raise ConfigurationError(f"broker URL {shown!r} has a password but no user; {_FORM}")
        return cls(
            host=host,
            port=_PORTS[parts.scheme] if port is None else port,
            tls=parts.scheme == "mqtts",
            username=username,
            password=password,
        )

    @property
    def url(self) -> str:
        """The whole URL, secrets included: for a child's configuration, never for a log."""
        account = ""
        if self.username is not None:
            account = quote(self.username, safe="")
            if self.password is not None:
                account += ":" + quote(self.password, safe="")
            account += "@"
        return f"{self._scheme}://{account}{self._place}"

    def __str__(self) -> str:
        """The URL without the account, fit for people and logs."""
        return f"{self._scheme}://{self._place}"

    @property
    def _scheme(self) -> str:
        return "mqtts" if self.tls else "mqtt"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How an `MqttLink` behaves; the defaults are for a board on a home or lab network."""

    keepalive_s: int = 30
    """Silence after which a ping is sent; the broker takes us for dead after half as much again."""
    session_expiry_s: int = 3600
    """How long the broker keeps our session, and messages for us, after a connection is lost."""
    connect_timeout_s: float = 5.0
    """For the connection, the TLS handshake and the broker's answer, each."""
    receive_maximum: int = 64
    """Messages that the broker may send before the owner has taken the first."""
    largest_packet_bytes: int = 2 * 1024 * 1024
    """Larger messages are neither sent nor accepted: the broker is told, and drops them for us."""
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)
    backoff_seed: int | None = None
    """Makes the delays between attempts repeatable."""
    limits: LinkLimits = field(default_factory=LinkLimits)
    ca_file: Path | None = None
    """Whom to trust as a broker; by default the system's authorities."""
    certificate_file: Path | None = None
    """Our own certificate, for brokers that ask for one; with `key_file`."""
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.keepalive_s < 1 or self.keepalive_s > 65_535:
            raise ConfigurationError(
                f"keepalive_s = {self.keepalive_s}: must be from 1 to 65535 seconds"
            )
        if self.receive_maximum < 1 or self.receive_maximum > 65_535:
            raise ConfigurationError(
                f"receive_maximum = {self.receive_maximum}: must be from 1 to 65535 messages"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigurationError(
                "certificate_file and key_file belong together: give both or neither"
            )


def _redacted(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]
