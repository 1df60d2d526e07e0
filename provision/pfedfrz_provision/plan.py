"""Which files a federation is made of, and which of them a change makes anew. Nothing is written.

A plan lists the secrets of new members first, then the registry, then what follows from it: a kill
between two files leaves members that nobody knows, never an account whose secret is lost, and the
next call makes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from cryptography import x509

from pfedfrz_protocol import ConfigurationError, SigningKey

from .access_list import access_list
from .authority import Authority, TlsKey, certificate_pem, certified_key
from .broker_files import mosquitto_conf, password_file
from .changes import NewFile
from .names import COORDINATOR, MONITOR
from .passwords import hash_password, new_password
from .registry import Accounts, Member, Registry, Revoked, Role
from .request import Request
from .settings_files import (
    DeviceData,
    accept_list,
    coordinator_toml,
    device_toml,
    monitor_options,
    monitor_toml,
    operator_list,
)

__all__ = [
    "AUTHORITY_CERTIFICATE",
    "AUTHORITY_KEY",
    "BUNDLE",
    "REGISTRY",
    "Plan",
    "SharedFiles",
    "member_folder",
    "plan_additions",
    "plan_federation",
    "plan_renewal",
    "plan_revocation",
]

REGISTRY = "authority/federation.json"
AUTHORITY_KEY = "authority/ca.key"
AUTHORITY_CERTIFICATE = "authority/ca.pem"
BUNDLE = "coordinator/model.pfz"
OPERATORS = "coordinator/operators.toml"
_PUBLIC = 0o644


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """What members have in common."""

    authority: Authority
    bundle: bytes


@dataclass(slots=True)
class Plan:
    """The registry as it will be, and the files by their path below the federation's directory."""

    registry: Registry
    files: dict[str, NewFile] = field(default_factory=dict)

    def public(self, path: str, data: bytes | str) -> None:
        """A file that anybody may have."""
        self._put(path, NewFile(_encoded(data), _PUBLIC))

    def secret(self, path: str, data: bytes | str) -> None:
        """A file for its owner only."""
        self._put(path, NewFile(_encoded(data)))

    def add_monitor_toml(self, name: str, role: Role) -> None:
        """The settings of a monitor or an operator."""
        text = monitor_toml(self.registry, name, role)
        self.public(f"{member_folder(name, role)}/monitor.toml", text)

    def _put(self, path: str, file: NewFile) -> None:
        self.files.pop(path, None)  # what is made twice has the later one's place
        self.files[path] = file


def member_folder(name: str, role: Role) -> str:
    """Where a member's files are."""
    match role:
        case Role.DEVICE:
            return f"devices/{name}"
        case Role.OPERATOR:
            return f"operators/{name}"
        case Role.MONITOR if name != MONITOR:
            return f"monitors/{name}"
        case _:
            return name


def plan_federation(
    registry: Registry, request: Request, shared: SharedFiles, directory: str, now: datetime
) -> Plan:
    """A federation from nothing: `registry` has no members yet."""
    plan = Plan(registry)
    plan.secret(AUTHORITY_KEY, shared.authority.key.pem)
    plan.public(AUTHORITY_CERTIFICATE, shared.authority.pem)
    days = request.certificate_days
    server = TlsKey.generate()
    certificate = certificate_pem(
        shared.authority.issue_server(server.public, registry.hosts, now, days)
    )
    plan.registry = msgspec.structs.replace(plan.registry, server_certificate=certificate.decode())
    plan.secret("broker/server.key", server.pem)
    plan.public("broker/server.pem", certificate)
    plan.public("broker/ca.pem", shared.authority.pem)
    plan.public("broker/mosquitto.conf", mosquitto_conf(registry))
    _add_member(plan, COORDINATOR, Role.COORDINATOR, shared, days, now)
    password = _add_member(plan, MONITOR, Role.MONITOR, shared, days, now)
    plan.secret(
        f"{MONITOR}/mosquitto_sub",
        monitor_options(registry, f"{directory}/{MONITOR}", password),
    )
    plan.add_monitor_toml(MONITOR, Role.MONITOR)
    names = request.new_devices(None)
    _add_devices(plan, names, request.data, shared, days, now)
    _add_watchers(plan, request.new_watchers(None), shared, days, now)
    plan.public("coordinator/coordinator.toml", coordinator_toml(plan.registry))
    _finish(plan, shared.authority, now)
    return plan


def plan_additions(
    registry: Registry, request: Request, shared: SharedFiles, now: datetime
) -> Plan:
    """More members; without any, what follows from the registry is made anew all the same."""
    plan = Plan(registry)
    names = request.new_devices(registry)
    _add_devices(plan, names, request.data, shared, request.certificate_days, now)
    _add_watchers(plan, request.new_watchers(registry), shared, request.certificate_days, now)
    _finish(plan, shared.authority, now)
    return plan


def plan_renewal(plan: Plan, request: Request, authority: Authority, now: datetime) -> Plan:
    """New certificates for the same keys, so that no private key has to be at hand.

    Here the registry comes first: no certificate is in use whose number it does not know.
    """
    registry, days = plan.registry, request.certificate_days
    hosts = request.hosts or registry.hosts
    server = certified_key(registry.server_certificate.encode())
    renewed = {
        "broker/server.pem": certificate_pem(authority.issue_server(server, hosts, now, days))
    }
    members = dict(registry.members)
    for name, member in registry.members.items():
        path = f"{member_folder(name, member.role)}/tls.pem"
        if member.certificate is None or path in plan.files:
            continue
        key = certified_key(member.certificate.encode())
        certificate = authority.issue_client(key, name, now, days)
        members[name] = _with_certificate(member, certificate)
        renewed[path] = certificate_pem(certificate)
    plan.registry = msgspec.structs.replace(
        registry,
        hosts=hosts,
        server_certificate=renewed["broker/server.pem"].decode(),
        members=members,
    )
    _finish(plan, authority, now)
    for path, pem in renewed.items():
        plan.public(path, pem)
    return plan


def plan_revocation(registry: Registry, name: str, authority: Authority, now: datetime) -> Plan:
    """A device, operator or monitor less; ConfigurationError when there is no such member.

    The coordinator and the first monitor are what a federation is made of: they stay.
    """
    member = registry.members.get(name)
    if member is None or name in (COORDINATOR, MONITOR):
        gone = any(revoked.name == name for revoked in registry.revoked)
        watchers = {**registry.of(Role.OPERATOR), **registry.of(Role.MONITOR)}
        watchers.pop(MONITOR, None)
        raise ConfigurationError(
            f"device {name!r} {'is revoked already' if gone else 'is not in this federation'}; "
            f"its devices are {_listed(registry.devices)}"
            + (f", its operators and monitors {_listed(watchers)}" if watchers else "")
        )
    members = {other: m for other, m in registry.members.items() if other != name}
    revoked = Revoked(name, member.public_key, member.serials, now, member.role)
    plan = Plan(
        msgspec.structs.replace(registry, members=members, revoked=(*registry.revoked, revoked))
    )
    _finish(plan, authority, now)
    return plan


def _add_devices(
    plan: Plan,
    names: list[str],
    data: DeviceData,
    shared: SharedFiles,
    days: int,
    now: datetime,
) -> None:
    for name in names:
        _add_member(plan, name, Role.DEVICE, shared, days, now)
        plan.public(f"devices/{name}/device.toml", device_toml(plan.registry, name, data))


def _add_watchers(
    plan: Plan, watchers: list[tuple[str, Role]], shared: SharedFiles, days: int, now: datetime
) -> None:
    for name, role in watchers:
        _add_member(plan, name, role, shared, days, now)
        plan.add_monitor_toml(name, role)


def _add_member(
    plan: Plan, name: str, role: Role, shared: SharedFiles, days: int, now: datetime
) -> str | None:
    """A new account with its secrets; its password, where it has one."""
    folder = member_folder(name, role)
    member = Member(role)
    password = None
    if role is not Role.MONITOR:
        signing = SigningKey.generate()
        member = msgspec.structs.replace(member, public_key=signing.public)
        plan.secret(f"{folder}/{role.value}.key", signing.to_pem())
    if role in (Role.COORDINATOR, Role.DEVICE):
        plan.public(f"{folder}/model.pfz", shared.bundle)
    if plan.registry.accounts is Accounts.PASSWORD:
        password = new_password()
        member = msgspec.structs.replace(member, password_hash=hash_password(password))
        plan.secret(f"{folder}/password", f"{password}\n")
    else:
        key = TlsKey.generate()
        certificate = shared.authority.issue_client(key.public, name, now, days)
        member = _with_certificate(member, certificate)
        plan.secret(f"{folder}/tls.key", key.pem)
        plan.public(f"{folder}/tls.pem", certificate_pem(certificate))
    plan.public(f"{folder}/ca.pem", shared.authority.pem)
    plan.registry = msgspec.structs.replace(
        plan.registry, members={**plan.registry.members, name: member}
    )
    return password


def _with_certificate(member: Member, certificate: x509.Certificate) -> Member:
    return msgspec.structs.replace(
        member,
        certificate=certificate_pem(certificate).decode(),
        serials=(*member.serials, f"{certificate.serial_number:x}"),
    )


def _finish(plan: Plan, authority: Authority, now: datetime) -> None:
    """The registry, and all that is a function of it."""
    registry = plan.registry
    plan.secret(REGISTRY, registry.encode())
    plan.secret("broker/access.acl", access_list(registry))
    if registry.accounts is Accounts.PASSWORD:
        plan.secret("broker/passwords", password_file(registry))
    else:
        serials = ((int(s, 16), gone.at) for gone in registry.revoked for s in gone.serials)
        plan.public("broker/revoked.pem", authority.revocations(serials, now))
    plan.public("coordinator/devices.toml", accept_list(registry))
    plan.public(OPERATORS, operator_list(registry))


def _encoded(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(list(names)[:10]) or "none"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
