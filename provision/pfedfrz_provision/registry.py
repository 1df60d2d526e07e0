"""Who is in a federation: the one file from which the lists of broker and coordinator are made.

It holds no private key and no password; it holds hashes of passwords, so it is nobody's business.
"""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from pfedfrz_protocol import ConfigurationError, PublicKey

from .names import COORDINATOR

__all__ = ["Accounts", "Member", "Registry", "Revoked", "Role", "decode_registry"]

_FORMAT = 1


class Accounts(str, enum.Enum):
    """How members show the broker who they are."""

    PASSWORD = "password"
    CERTIFICATE = "certificate"


class Role(str, enum.Enum):
    """What an account is for, and so what it may read and write."""

    COORDINATOR = "coordinator"
    DEVICE = "device"
    MONITOR = "monitor"
    """Watches."""
    OPERATOR = "operator"
    """Watches, and may ask the coordinator to pause, let in and throw out."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One account."""

    role: Role
    public_key: PublicKey | None = None
    """Ed25519, with which it signs; a monitor signs nothing."""
    password_hash: str | None = None
    certificate: str | None = None
    """The newest one, PEM."""
    serials: tuple[str, ...] = ()
    """Of all its certificates, hexadecimal: revoking it revokes them all."""


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member that is out."""

    name: str
    public_key: PublicKey | None
    serials: tuple[str, ...]
    at: datetime
    role: Role = Role.DEVICE


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A federation's accounts and what its files say in common."""

    federation: str
    accounts: Accounts
    hosts: tuple[str, ...]
    port: int
    bind: str
    broker_directory: str
    """Where the broker's folder is on the broker's machine."""
    broker_user: str
    bundle: str
    """The digest of its manifest."""
    members: dict[str, Member]
    revoked: tuple[Revoked, ...] = ()
    server_certificate: str = ""
    format: int = _FORMAT

    @property
    def coordinator_key(self) -> str:
        """The public key that devices pin."""
        return self.members[COORDINATOR].public_key or ""

    @property
    def devices(self) -> dict[str, Member]:
        """The devices by name, in order."""
        return self.of(Role.DEVICE)

    def of(self, role: Role) -> dict[str, Member]:
        """The members with that role by name, in order."""
        return {n: m for n, m in sorted(self.members.items()) if m.role is role}

    def encode(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted")) + b"\n"


def decode_registry(data: bytes, source: str) -> Registry:
    """The registry in a file; ConfigurationError when it is not one of ours."""
    try:
        registry = msgspec.json.decode(data, type=Registry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source} is damaged: {error}; bring back a copy") from error
    if registry.format != _FORMAT or COORDINATOR not in registry.members:
        raise ConfigurationError(f"{source} is of another version of pfedfrz: use that one")
    return registry
