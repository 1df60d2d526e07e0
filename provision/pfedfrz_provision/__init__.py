"""From nothing to a federation whose members are known: keys, accounts, TLS and access list."""

from __future__ import annotations

from .authority import Authority, TlsKey
from .federation_directory import Provisioned, provision, revoke
from .registry import Accounts, Registry, Role
from .request import Request
from .settings_files import DeviceData

__all__ = [
    "Accounts",
    "Authority",
    "DeviceData",
    "Provisioned",
    "Registry",
    "Request",
    "Role",
    "TlsKey",
    "provision",
    "revoke",
]
