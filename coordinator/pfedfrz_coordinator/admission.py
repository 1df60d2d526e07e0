"""Who may speak: every message of a device passes here before anything else sees it.

A message is taken when it is within its sender's quota, decodes, and is signed with the key that
the registry has for the device on whose topic it came. A status introduces a device: it is signed
with the key that it carries, and enrols that key when a window is open (`permit_join_s`).

Only faults that are provably the device's own count towards its quarantine: an update that it
signed and that was refused, a failure that it reported. What anybody could have put on its topic
is counted and ignored, else a stranger could have a device thrown out.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pfedfrz_protocol import (
    ConfigurationError,
    DeviceStatus,
    Presence,
    ProtocolError,
    RejectReason,
    follow_successions,
    open_introduction,
    open_signed,
)

from .key_lists import FollowedKeys, read_accept_list
from .quotas import QuotaPolicy, Quotas
from .registry import Registry, RegistryRow, Standing

__all__ = ["Admission", "EnrolmentPolicy", "QuarantinePolicy"]

log = logging.getLogger(__name__)
_LONGEST_WINDOW_S = 10 * 365 * 86_400
_MOST_REMEMBERED = 1000
_BOOTS_REMEMBERED = 8
_STRANGERS = ""
_STRANGERS_WRITE_S = 0.05

Kind = TypeVar("Kind")


class EnrolmentPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How devices become known."""

    devices: Path | None = None
    """The accept list: a TOML file with a table [devices] of NAME = "public key"."""
    permit_join_s: float = 3600.0
    """For how long a new federation lets in whoever asks, from its first start on; 0 for never.
    `pfedfrz devices permit-join` opens the window again."""

    def __post_init__(self) -> None:
        if not 0 <= self.permit_join_s <= _LONGEST_WINDOW_S:
            raise ConfigurationError(
                f"[enrolment] permit_join_s = {self.permit_join_s} (want 0 to {_LONGEST_WINDOW_S})"
            )


class QuarantinePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a device is kept out."""

    failures: int = 5
    """Refused updates and failed rounds in a row; 0 for never."""

    def __post_init__(self) -> None:
        if self.failures < 0:
            raise ConfigurationError(f"[quarantine] failures = {self.failures} (want 0 or more)")


@dataclass(frozen=True)
class _Said:
    """The last status of a device, to be looked at again when a person has changed something."""

    topic: str
    payload: bytes


class Admission:
    """The gate of one federation."""

    def __init__(
        self,
        registry: Registry,
        federation: str,
        clock: Callable[[], float],
        *,
        enrolment: EnrolmentPolicy,
        quarantine: QuarantinePolicy,
        quotas: QuotaPolicy,
        max_devices: int = 20_000,
    ) -> None:
        """Take the accept list over, open the first window; ConfigurationError for a bad list."""
        self._registry = registry
        self._federation = federation
        self._enrolment = enrolment
        self._quarantine = quarantine
        self.quotas = Quotas(quotas, clock)
        self._clock = clock
        self._max_devices = max_devices
        self._wrote_stranger_s = -math.inf
        self._known: dict[str, RegistryRow] = {}
        self._said: dict[str, _Said] = {}
        self._said_by_others: dict[str, _Said] = {}
        self._boots: dict[str, deque[str]] = {}
        self._accepted: Counter[str] = Counter()
        """Accepted updates that the registry has not been told of."""
        self._waiting: dict[str, str] = {}
        """What devices wait for, of which the registry has not been told either."""
        if registry.permit_join_s() is None:
            registry.permit_join(enrolment.permit_join_s)
        self._accept_list: FollowedKeys | None = None
        if enrolment.devices is not None:
            self._accept_list = FollowedKeys(enrolment.devices, read_accept_list, "accept list")
        self._changed_here = False
        self.revision = 0
        """Grows whenever what is known of a device may be another thing."""
        self._take_accept_list()
        self._refresh()

    # Messages

    def open(self, device: str, topic: str, payload: bytes, kind: type[Kind]) -> Kind:
        """The message of an enrolled device; ProtocolError when it is not to be listened to."""
        key = self.key_of(device)
        return open_signed(payload, kind, topic, key, f"not signed with {device}'s key")

    def open_status(self, device: str, topic: str, payload: bytes) -> DeviceStatus:
        """The status of an enrolled device, or of one that is enrolled by it.

        ProtocolError when it is not let in, whose reason the device should be told.
        """
        status = open_introduction(payload, DeviceStatus, topic)
        # A status with another key is kept apart: it must not take the place of the device's own.
        kept = self._said if self._is_own(device, status) else self._said_by_others
        if device in self._known or len(kept) < len(self._known) + _MOST_REMEMBERED:
            kept[device] = _Said(topic, payload)
        self._let_in(device, status)
        if status.presence is not Presence.OFFLINE:
            self._watch_boots(device, status.boot_id)
        waits = status.presence is Presence.WAITING
        self._waiting[device] = status.waiting_for if waits else ""
        return status

    def sender(self, device: str) -> str:
        """Whose quota a message on the device's topic uses up."""
        return device if device in self._known else _STRANGERS

    def key_of(self, device: str) -> str:
        """The key of an enrolled device; ProtocolError for any other."""
        return self._require_enrolled(device).key

    def is_enrolled(self, device: str) -> bool:
        """Whether the device is let in."""
        row = self._known.get(device)
        return row is not None and row.standing is Standing.ENROLLED

    # What devices have done

    def count_accepted(self, device: str) -> None:
        """An update of the device was accepted; written down with the traffic."""
        self._accepted[device] += 1

    def count_failure(self, device: str, detail: str, *, rejected: bool) -> str | None:
        """An update was refused or a round failed; why that quarantines the device, or None."""
        self._registry.count_accepted({device: self._accepted.pop(device, 0)})
        failures = self._registry.count_failure(device, rejected=rejected)
        if not self._quarantine.failures or failures < self._quarantine.failures:
            return None
        reason = f"{failures} failures in a row, the last: {detail}"
        kept_out = self._registry.quarantine(device, reason[:300])
        self._refresh(device)
        return reason if kept_out else None

    def write_down_traffic(self) -> None:
        """Put what was counted since the last time into the registry."""
        accepted, self._accepted = self._accepted, Counter()
        self._registry.count_accepted(accepted)
        drained = self.quotas.drain()
        self._registry.add_traffic(
            {name: (t.messages, t.payload_bytes, t.ignored) for name, t in drained.items() if name}
        )

    def write_down_waiting(self) -> None:
        """Put what devices wait for into the registry, where it is another thing than before."""
        said, self._waiting = self._waiting, {}
        news = {
            name: waiting_for
            for name, waiting_for in said.items()
            if (row := self._known.get(name)) is not None and row.waiting_for != waiting_for
        }
        if news:
            self._registry.note_waiting(news)
            for name in news:
                self._refresh(name)

    # What a person changes

    def accept(self, device: str, key: str | None = None) -> None:
        """`Registry.accept`, unless the accept list says otherwise; ConfigurationError."""
        row = self._registry.find(device)
        self._require_not_listed_otherwise(device, key or (row.key if row is not None else None))
        self._registry.accept(device, key)
        self._changed_here = True

    def quarantine(self, device: str, reason: str) -> None:
        """`Registry.keep_out`, unless the accept list would undo it; ConfigurationError."""
        row = self._registry.find(device)
        self._require_not_listed_otherwise(device, row.origin if row is not None else None)
        self._registry.keep_out(device, reason)
        self._changed_here = True

    def readmit(self, device: str) -> None:
        """`Registry.readmit`; ConfigurationError."""
        self._registry.readmit(device)
        self._changed_here = True

    def revoke(self, device: str) -> None:
        """`Registry.revoke`, unless the accept list would undo it; ConfigurationError."""
        row = self._registry.find(device)
        self._require_not_listed_otherwise(device, row.origin if row is not None else None)
        self._registry.revoke(device)
        self._changed_here = True

    def permit_join(self, seconds: float) -> None:
        """`Registry.permit_join`."""
        self._registry.permit_join(seconds)
        self._changed_here = True

    def rows(self) -> list[RegistryRow]:
        """All devices by name, as this gate knows them."""
        return [row for _, row in sorted(self._known.items())]

    def is_joining(self) -> bool:
        """Whether whoever asks is let in just now."""
        return bool(self._registry.permit_join_s())

    def look_for_changes(self) -> tuple[frozenset[str], list[tuple[str, str, bytes]]]:
        """Devices that are not let in any more, and (device, topic, status) to look at again.

        Both are empty when nobody has changed anything since the last call.
        """
        took = self._take_accept_list()
        here, self._changed_here = self._changed_here, False
        if not self._registry.changed() and not took and not here:
            return frozenset(), []
        before = {name: row.key for name, row in self._known.items() if self.is_enrolled(name)}
        self._refresh()
        barred = frozenset(name for name in before if not self.is_enrolled(name))
        keys = {name: row.key for name, row in self._known.items()}
        again = [
            (name, said.topic, said.payload)
            for kept in (self._said, self._said_by_others)
            for name, said in kept.items()
            if name not in before or keys.get(name) != before[name]
        ]
        self._said_by_others = {}
        return barred, again

    # Inside

    def _require_not_listed_otherwise(self, device: str, key: str | None) -> None:
        """What the accept list says of a device is taken over whenever it is read."""
        accept_list = self._accept_list
        listed = None if accept_list is None else accept_list.keys.get(device)
        if accept_list is None or key is None or listed in (None, key):
            return
        raise ConfigurationError(
            f"the accept list ({accept_list.path.name}) has another key for {device} and would "
            "let it in with that one: change it there"
        )

    def _require_enrolled(self, device: str) -> RegistryRow:
        row = self._known.get(device)
        if row is None:
            raise ProtocolError(RejectReason.NOT_ENROLLED, f"{device} is not known here")
        if row.standing is not Standing.ENROLLED:
            raise _refusal(row)
        return row

    def _is_own(self, device: str, status: DeviceStatus) -> bool:
        """Whether the key is the device's, or follows from it; an unknown device may have any."""
        row = self._known.get(device)
        owner = f"{self._federation}/device/{device}"
        return row is None or follow_successions(row.key, status.key, status.successions, owner)

    def _let_in(self, device: str, status: DeviceStatus) -> None:
        row = self._known.get(device)
        if self._registry.is_revoked(status.key):
            raise ProtocolError(RejectReason.REVOKED, "this key was revoked; make a new one")
        if row is None or row.standing is Standing.WAITING:
            self._enrol_or_wait(device, status.key)
            return
        if row.standing is Standing.REVOKED:
            raise _refusal(row)
        if status.key != row.key:
            if not self._is_own(device, status):
                raise ProtocolError(
                    RejectReason.WRONG_SIGNATURE,
                    f"{device} is known by another key ({row.key[:12]}...); if it was installed "
                    f"anew: pfedfrz devices accept {device} --key {status.key}",
                )
            self._registry.replace_key(device, status.key)
            log.info("%s has rotated its key: %s...", device, status.key[:12])
            self._refresh(device)
        if row.standing is Standing.QUARANTINED:
            raise _refusal(row)

    def _enrol_or_wait(self, device: str, key: str) -> None:
        if self._registry.permit_join_s():
            if device not in self._known and len(self._known) >= self._max_devices:
                raise ProtocolError(
                    RejectReason.NOT_ENROLLED, f"{len(self._known)} devices are known, the most"
                )
            self._registry.enrol(device, key)
            log.info("%s is enrolled with the key %s...", device, key[:12])
            self._refresh(device)
            return
        now_s = self._clock()
        # Who asked first keeps the place; another key is said with --key. And a write to the disk
        # for each of a stranger's messages would be a flood of its own.
        if device not in self._known and now_s >= self._wrote_stranger_s + _STRANGERS_WRITE_S:
            self._wrote_stranger_s = now_s
            self._registry.let_wait(device, key)
            self._refresh(device)
        raise ProtocolError(
            RejectReason.NOT_ENROLLED,
            f"{device} is not enrolled and no permit-join window is open; where the coordinator "
            f"runs: pfedfrz devices accept {device} --key {key}",
        )

    def _watch_boots(self, device: str, boot_id: str) -> None:
        """A process that is started anew has a new boot id; one that alternates is two machines."""
        boots = self._boots.setdefault(device, deque(maxlen=_BOOTS_REMEMBERED))
        if boots and boots[-1] == boot_id:
            return
        if boot_id in boots:
            log.warning(
                "two machines speak as %s: was its card copied? Give one of them a name and a key "
                "of its own",
                device,
            )
            boots.clear()
        boots.append(boot_id)

    def _take_accept_list(self) -> bool:
        accept_list = self._accept_list
        if accept_list is None or not accept_list.look():
            return False
        new = dict[str, str]()
        known = {row.name: row for row in self._registry.rows()}
        for name, key in accept_list.keys.items():
            row = known.get(name)
            # A key that has been rotated since stands; so does a revocation.
            if row is not None and row.origin == key and row.standing is not Standing.WAITING:
                continue
            if self._registry.is_revoked(key):
                log.warning("%s is on the accept list with a revoked key; it stays out", name)
                continue
            new[name] = key
        self._registry.enrol_all(new)
        return True

    def _refresh(self, device: str | None = None) -> None:
        self.revision += 1
        if device is None:
            self._known = {row.name: row for row in self._registry.rows()}
            return
        row = self._registry.find(device)
        if row is not None:
            self._known[device] = row


def _refusal(row: RegistryRow) -> ProtocolError:
    match row.standing:
        case Standing.QUARANTINED:
            detail = f"{row.reason}; to let it back: pfedfrz devices readmit {row.name}"
            return ProtocolError(RejectReason.QUARANTINED, detail)
        case Standing.REVOKED:
            return ProtocolError(RejectReason.REVOKED, f"the key of {row.name} was revoked")
        case _:
            return ProtocolError(RejectReason.NOT_ENROLLED, f"{row.name} is not enrolled")
