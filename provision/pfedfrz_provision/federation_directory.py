"""A federation's directory on the disk: made whole, extended, renewed, and members taken out."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, OperationError, read_bundle
from pfedfrz_storage import lock_directory, read_bundle_file

from .authority import Authority
from .changes import Owner, apply_changes, remove_partial
from .first_boot import CLOUD_INIT, SCRIPT, FirstBoot, write_first_boot
from .names import MONITOR
from .plan import (
    AUTHORITY_CERTIFICATE,
    AUTHORITY_KEY,
    BUNDLE,
    REGISTRY,
    Plan,
    SharedFiles,
    member_folder,
    plan_additions,
    plan_federation,
    plan_renewal,
    plan_revocation,
)
from .registry import Accounts, Registry, Role, decode_registry
from .request import Request
from .required_file import read_required

__all__ = ["Provisioned", "provision", "revoke"]

_PORT = 8883
_FOR_ONE_MEMBER = ("device.key", "operator.key", "password", "tls.key", SCRIPT, CLOUD_INIT)
_COORDINATOR_TOML = "coordinator/coordinator.toml"
_MONITOR_TOML = f"{MONITOR}/monitor.toml"


class Provisioned(msgspec.Struct, frozen=True):
    """What was done, without a secret."""

    directory: str
    federation: str
    accounts: Accounts
    hosts: tuple[str, ...]
    port: int
    broker_directory: str
    broker_user: str
    coordinator_key: str
    devices: tuple[str, ...]
    """All that are in it now."""
    added: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    """All that ever were."""
    is_new: bool = False
    renewed: bool = False
    certificates_until: str | None = None
    """The day on which the certificates of this call end, UTC; None when it made none."""
    first_boot: tuple[str, ...] = ()
    """The devices whose first boot was made."""
    operators: tuple[str, ...] = ()
    """All that are in it now."""
    monitors: tuple[str, ...] = ()
    """All that are in it now, the one that every federation has among them."""
    new_watchers: tuple[str, ...] = ()
    """The folders of operators and monitors that this call has made."""
    taken_out: Role | None = None
    """What the member was that this call has revoked."""
    knows_operators: bool = True
    """False where there are operators and coordinator.toml, made earlier, names no list of them."""


def provision(directory: Path, request: Request, bundle: Path | None = None) -> Provisioned:
    """Make a federation in `directory`, or add to the one that is there.

    Raises ConfigurationError for what a person must mend and OperationError when the disk refuses;
    either way nothing is left half-made.
    """
    now = datetime.now(timezone.utc)
    first_boot = FirstBoot.read(request.wheel) if request.wheel else None
    if (directory / REGISTRY).exists():
        with _opened(directory) as (registry, authority):
            done = _extend(directory, registry, authority, request, bundle, now)
    else:
        done = _make(directory, request, bundle, now)
    if first_boot is None:
        return done
    ready = write_first_boot(directory, done.devices, first_boot)
    return msgspec.structs.replace(done, first_boot=ready)


def revoke(directory: Path, member: str) -> Provisioned:
    """Take a device, operator or monitor out: off all lists, its password or certificate revoked.

    Its secrets go too. Raises ConfigurationError when there is no such federation or member, and
    OperationError.
    """
    with _opened(directory) as (registry, authority):
        plan = plan_revocation(registry, member, authority, datetime.now(timezone.utc))
        role = registry.members[member].role
        _apply(directory, plan)
        for name in _FOR_ONE_MEMBER:
            with contextlib.suppress(OSError):  # good for nothing any more, here or elsewhere
                (directory / member_folder(member, role) / name).unlink()
        done = _told(directory.resolve(), registry, plan.registry)
        return msgspec.structs.replace(done, taken_out=role)


def _make(directory: Path, request: Request, bundle: Path | None, now: datetime) -> Provisioned:
    federation, path = _required(request, bundle)
    root = directory.resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(
            f"{directory} is there already and is no federation's: choose another directory"
        )
    if not root.parent.is_dir() or not os.access(root.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{directory}: the directory {root.parent} is not there or cannot be written to"
        )
    place = request.broker_directory or str(root / "broker")
    if re.search(r"\s", place):
        raise ConfigurationError(
            f"{place!r} has a space in it, which Mosquitto's configuration cannot hold: choose "
            "another directory, or say with --broker-directory where the broker's files will be"
        )
    user = request.broker_user or _own_name()
    found = read_bundle_file(path)
    registry = Registry(
        federation=federation,
        accounts=request.accounts or Accounts.PASSWORD,
        hosts=request.hosts,
        port=request.port or _PORT,
        bind=request.bind or "",
        broker_directory=place,
        broker_user=user,
        bundle=found.manifest.digest,
        members={},
    )
    _broker_owner(root, registry)  # an unknown user is said before anything is made
    shared = SharedFiles(Authority.make(federation, now), path.read_bytes())
    plan = plan_federation(registry, request, shared, str(root), now)
    if directory.exists():
        _apply(root, plan)
    else:
        _apply_beside(root, plan)
    return _told(root, None, plan.registry, days=request.certificate_days, now=now)


def _extend(
    directory: Path,
    registry: Registry,
    authority: Authority,
    request: Request,
    bundle: Path | None,
    now: datetime,
) -> Provisioned:
    fault = request.contradiction(registry)
    if fault is not None:
        raise ConfigurationError(f"{directory} holds a federation already, and {fault}")
    content = _same_bundle(registry, bundle or directory / BUNDLE)
    plan = plan_additions(registry, request, SharedFiles(authority, content), now)
    if request.renew:
        plan = plan_renewal(plan, request, authority, now)
    if (directory / MONITOR).is_dir() and not (directory / _MONITOR_TOML).exists():
        plan.add_monitor_toml(MONITOR, Role.MONITOR)  # this federation is older than these files
    _apply(directory, plan)
    return _told(
        directory.resolve(), registry, plan.registry, days=request.certificate_days, now=now
    )


def _required(request: Request, bundle: Path | None) -> tuple[str, Path]:
    missing = [
        option
        for option, given in (
            ("--federation", request.federation),
            ("--host", request.hosts),
            ("--bundle", bundle),
        )
        if not given
    ]
    if missing or request.federation is None or bundle is None:
        raise ConfigurationError(f"a new federation needs {', '.join(missing)}")
    if request.renew:
        raise ConfigurationError("there are no certificates to renew: this federation is new")
    return request.federation, bundle


def _same_bundle(registry: Registry, path: Path) -> bytes:
    content = read_required(path)
    if read_bundle(content, str(path)).manifest.digest != registry.bundle:
        raise ConfigurationError(
            f"{path} is not the bundle that this federation trains: another model needs another "
            "federation"
        )
    return content


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[tuple[Registry, Authority]]:
    if not (directory / REGISTRY).exists():
        raise ConfigurationError(
            f"{directory} holds no federation that `pfedfrz provision` made: check the path"
        )
    with lock_directory(directory / "authority", mode=0o700):
        registry = decode_registry(read_required(directory / REGISTRY), str(directory / REGISTRY))
        try:
            authority = Authority.load(
                read_required(directory / AUTHORITY_KEY),
                read_required(directory / AUTHORITY_CERTIFICATE),
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"{directory / AUTHORITY_KEY}: {error}") from error
        remove_partial(directory)
        yield registry, authority


def _apply(root: Path, plan: Plan) -> None:
    apply_changes(root, plan.files, _broker_owner(root.resolve(), plan.registry))


def _apply_beside(root: Path, plan: Plan) -> None:
    """The whole directory at once, so that a kill leaves it whole or not at all."""
    partial = root.with_name(f".{root.name}.partial-{secrets.token_hex(4)}")
    try:
        apply_changes(partial, plan.files, _broker_owner(root, plan.registry))
        try:
            partial.rename(root)
        except OSError as error:
            raise OperationError(f"cannot make {root}: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigurationError(
            "this process's user has no name: say with --broker-user who runs the broker"
        ) from None


def _broker_owner(root: Path, registry: Registry) -> Owner | None:
    """Who gets the broker's folder: only root can give it, and only on the broker's machine."""
    if os.geteuid() != 0 or registry.broker_directory != str(root / "broker"):
        return None
    try:
        user = pwd.getpwnam(registry.broker_user)
    except KeyError:
        raise ConfigurationError(
            f"there is no user {registry.broker_user!r} here: choose another --broker-user, or "
            "say with --broker-directory where on the broker's machine its files will be"
        ) from None
    return Owner("broker", user.pw_uid, user.pw_gid)


def _knows_operators(path: Path) -> bool:
    """Whether a coordinator.toml names a list of operators; True where it cannot be looked into."""
    try:
        return "operators" in msgspec.toml.decode(path.read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError):
        return True


def _told(
    directory: Path,
    before: Registry | None,
    after: Registry,
    *,
    days: int | None = None,
    now: datetime | None = None,
) -> Provisioned:
    known = before.devices if before is not None else {}
    added = tuple(name for name in after.devices if name not in known)
    renewed = before is not None and before.server_certificate != after.server_certificate
    until = None
    made_some = before is None or renewed or (added and after.accounts is Accounts.CERTIFICATE)
    if days is not None and now is not None and made_some:
        until = datetime.fromtimestamp(now.timestamp() + days * 86_400, timezone.utc)
    operators, monitors = after.of(Role.OPERATOR), after.of(Role.MONITOR)
    members_before = before.members if before is not None else {}
    return Provisioned(
        operators=tuple(operators),
        monitors=tuple(monitors),
        new_watchers=tuple(
            member_folder(name, member.role)
            for name, member in (operators | monitors).items()
            if name not in members_before and name != MONITOR
        ),
        knows_operators=not operators or _knows_operators(directory / _COORDINATOR_TOML),
        directory=str(directory),
        federation=after.federation,
        accounts=after.accounts,
        hosts=after.hosts,
        port=after.port,
        broker_directory=after.broker_directory,
        broker_user=after.broker_user,
        coordinator_key=after.coordinator_key,
        devices=tuple(after.devices),
        added=added,
        revoked=tuple(gone.name for gone in after.revoked),
        is_new=before is None,
        renewed=renewed,
        certificates_until=until.date().isoformat() if until else None,
    )
