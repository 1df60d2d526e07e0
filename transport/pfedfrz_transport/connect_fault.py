"""Why a connection failed, in words for a person, and whether trying again can help."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

__all__ = ["ConnectFault", "describe_exception", "describe_refusal"]

_CHECK_PLACE = "start it, or check host and port"
_SESSION_TAKEN_OVER = 0x8E
# MQTT 5 reason codes that the same CONNECT will meet again for ever, with what to do.
_PERMANENT = {
    0x84: "use a broker that speaks MQTT 5",
    0x85: "choose another client id",
    0x86: "check user name and password",
    0x87: "check user name, password and the broker's access rules",
    0x8A: "ask the broker's administrator",
    0x8C: "use a broker that takes user name and password",
}
# Why OpenSSL does not trust the broker's certificate (X509_V_ERR_...), and the remedy.
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64
_USE_ITS_NAME = "use a host name or address that the certificate was issued for"
_UNTRUSTED = {
    _NOT_YET_VALID: "set this machine's clock",
    _EXPIRED: "renew the broker's certificate, or set this machine's clock",
    _WRONG_NAME: _USE_ITS_NAME,
    _WRONG_ADDRESS: _USE_ITS_NAME,
}
_GIVE_AUTHORITY = "give the certificate of the authority that issued it as ca_file"
# What a broker says in TLS when it will not have our certificate: part of OpenSSL's name of the
# alert, which differs between versions of TLS in its beginning only.
_ALERTS = {
    "CERTIFICATE_REQUIRED": (
        "it asks for a certificate and we showed none",
        "give certificate_file and key_file under [tls]",
    ),
    "HANDSHAKE_FAILURE": (
        "the TLS handshake failed, perhaps because it asks for a certificate and we showed none",
        "see the broker's log, and certificate_file and key_file under [tls]",
    ),
    "UNKNOWN_CA": (
        "it does not know the authority that issued our certificate",
        "use a certificate of the broker's own authority",
    ),
    "CERTIFICATE_EXPIRED": ("our certificate is expired", "renew it"),
    "CERTIFICATE_REVOKED": (
        "our certificate was revoked",
        "ask whoever runs the federation",
    ),
    "BAD_CERTIFICATE": ("it does not accept our certificate", "see the broker's log"),
    "UNSUPPORTED_CERTIFICATE": (
        "our certificate is none for a client",
        "give the one that was made for this member",
    ),
    "CERTIFICATE_UNKNOWN": ("it does not accept our certificate", "see the broker's log"),
}


@dataclass(frozen=True, slots=True)
class ConnectFault:
    """What happened, and the remedy."""

    happened: str
    remedy: str = _CHECK_PLACE
    is_permanent: bool = False


def describe_exception(error: Exception) -> ConnectFault:
    """The fault behind an exception that was raised while connecting."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFault(
            f"its certificate is not trusted ({error.verify_message})",
            _UNTRUSTED.get(error.verify_code, _GIVE_AUTHORITY),
            # A board without a battery learns the time some seconds after it has booted.
            is_permanent=error.verify_code != _NOT_YET_VALID,
        )
    if isinstance(error, ssl.SSLError):
        for alert, (happened, remedy) in _ALERTS.items():
            if (error.reason or "").endswith(f"ALERT_{alert}"):
                return ConnectFault(happened, remedy, is_permanent=True)
        return ConnectFault(
            f"the TLS handshake failed ({error.reason or error})",
            "check that this port is the broker's TLS port, else use mqtt://",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectFault("connection refused")
    if isinstance(error, socket.gaierror):
        return ConnectFault("the host name is not known", "check the host name and the network")
    if isinstance(error, TimeoutError):
        return ConnectFault("no answer in time", "check host, port and firewall")
    if isinstance(error, FileNotFoundError):
        return ConnectFault(
            "a TLS file does not exist",
            "check ca_file, certificate_file and key_file",
            is_permanent=True,
        )
    return ConnectFault(str(error) or type(error).__name__)


def describe_refusal(code: int, name: str) -> ConnectFault:
    """The fault behind a reason code with which the broker refused or ended a connection."""
    remedy = _PERMANENT.get(code)
    if remedy is not None:
        return ConnectFault(f"it refused us: {name.lower()}", remedy, is_permanent=True)
    if code == _SESSION_TAKEN_OVER:
        return ConnectFault(
            "another client with the same client id connected",
            "give every client an id of its own",
        )
    return ConnectFault(f"it ended the connection: {name.lower()}", "see the broker's log")
