"""How a process gets in at its broker: the address, whom it trusts, and its own account's secrets.

Coordinator and device say the same in their TOML files: `broker`, `password_file` and a table
`[tls]`. Secrets are read from files that only their owner can read. What is wrong with
those files is said before the first connection: afterwards a broker can only be silent.
"""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pfedfrz_protocol.errors import ConfigurationError

from .address import BrokerAddress, MqttOptions

__all__ = ["BrokerAccess", "TlsSettings", "open_access"]

_LONGEST_PASSWORD = 4096


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[tls]`. The broker's certificate and host name are always checked."""

    ca_file: Path | None = None
    """Whom to trust as a broker; by default the system's authorities."""
    certificate_file: Path | None = None
    """Our own certificate, for brokers that ask for one; with `key_file`."""
    key_file: Path | None = None

    def below(self, folder: Path) -> TlsSettings:
        """The same files, relative paths starting at `folder`."""
        return TlsSettings(*(path and folder / path for path in self._paths))

    @property
    def _paths(self) -> tuple[Path | None, ...]:
        return (self.ca_file, self.certificate_file, self.key_file)

    @property
    def is_empty(self) -> bool:
        """True when nothing was said about TLS."""
        return not any(self._paths)


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """What a link needs; the password is in the address, which does not show it."""

    address: BrokerAddress
    options: MqttOptions


def open_access(
    broker: str, tls: TlsSettings | None = None, password_file: Path | None = None
) -> BrokerAccess:
    """The way in at the broker of this URL; ConfigurationError for what a person must mend.

    That is: a file that is missing, not of its kind, or a secret that others may read.
    """
    tls = tls or TlsSettings()
    address = BrokerAddress.parse(broker)
    if not address.tls and not tls.is_empty:
        raise ConfigurationError(
            f"[tls] is given, but the broker {address} is spoken to without TLS: write mqtts://"
        )
    if password_file is not None:
        if address.username is None:
            raise ConfigurationError(
                f"password_file = {str(password_file)!r}, but the broker URL names no user: write "
                f"{'mqtts' if address.tls else 'mqtt'}://USER@HOST"
            )
        if address.password is not None:
            raise ConfigurationError("a password in the broker URL and a password_file: keep one")
        address = replace(address, password=_read_password(password_file))
    options = MqttOptions(
        ca_file=tls.ca_file, certificate_file=tls.certificate_file, key_file=tls.key_file
    )
    if tls.ca_file is not None:
        _check_authority(tls.ca_file)
    if tls.certificate_file is not None and tls.key_file is not None:
        _check_pair(tls.certificate_file, tls.key_file)
    return BrokerAccess(address, options)


def _read_password(path: Path) -> str:
    content = _read_secret("password_file", path)
    try:
        # Editors end a file with a newline; no other character is taken away.
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password or len(password) > _LONGEST_PASSWORD or not password.isprintable():
        raise ConfigurationError(
            f"password_file {path}: want one line of printable text, the password and nothing else"
        )
    return password


def _read_secret(key: str, path: Path) -> bytes:
    content = _read(key, path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(
            f"{key} {path} has mode {mode:04o}, which lets others use the secret in it: run "
            f"`chmod 600 {path}`, and think about a new one if somebody may have read it"
        )
    return content


def _check_authority(path: Path) -> None:
    _read("[tls] ca_file", path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigurationError(f"[tls] ca_file {path}: no certificate in PEM form") from error


def _check_pair(certificate: Path, key: Path) -> None:
    _read("[tls] certificate_file", certificate)
    _read_secret("[tls] key_file", key)
    try:
        # The callback: OpenSSL would ask on the terminal for the password of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"[tls] certificate_file {certificate} and key_file {key} do not go together: want a "
            "certificate in PEM form and its unencrypted private key"
        ) from error


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{key} {path}: cannot be read: {error.strerror or error}"
        ) from error
