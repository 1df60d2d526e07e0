"""Whose word a message is: signatures are checked before anything is believed.

A watcher has no register of devices. It knows a device by the key that its last status carries,
and the coordinator by a pinned key or the first that it heard. So nobody speaks in a member's name
whose status stands; that a stranger's device appears at all, on a broker without accounts, shows:
the coordinator keeps it out.
"""

from __future__ import annotations

from typing import TypeVar

from pfedfrz_protocol import (
    CoordinatorStatus,
    DeviceStatus,
    ProtocolError,
    RejectReason,
    Topics,
    follow_successions,
    open_introduction,
    open_signed,
)

__all__ = ["Authenticity"]

Kind = TypeVar("Kind")


class Authenticity:
    """The keys of one federation, as a watcher knows them. ProtocolError for what is not signed."""

    def __init__(self, topics: Topics, coordinator_key: str | None, max_devices: int) -> None:
        self._topics = topics
        self._coordinator = coordinator_key
        self._max_devices = max_devices
        self._devices: dict[str, str] = {}

    @property
    def coordinator_key(self) -> str | None:
        """The key that the coordinator is known by now."""
        return self._coordinator

    def coordinator_status(self, payload: bytes) -> CoordinatorStatus:
        """The coordinator's status; its first one is trusted where no key was pinned."""
        topic = self._topics.coordinator_status
        status = open_introduction(payload, CoordinatorStatus, topic)
        owner = f"{self._topics.federation}/coordinator"
        known = self._coordinator
        if known is not None and not follow_successions(
            known, status.key, status.successions, owner
        ):
            raise ProtocolError(RejectReason.WRONG_SIGNATURE, "another coordinator's key")
        self._coordinator = status.key
        return status

    def by_coordinator(self, topic: str, payload: bytes, kind: type[Kind]) -> Kind:
        """A message of the coordinator, whose status has been heard."""
        if self._coordinator is None:
            raise ProtocolError(RejectReason.WRONG_SIGNATURE, "no coordinator has been heard yet")
        return open_signed(payload, kind, topic, self._coordinator, "not the coordinator's")

    def device_status(self, device: str, topic: str, payload: bytes) -> DeviceStatus:
        """The status of a device, which from now on is known by the key in it."""
        status = open_introduction(payload, DeviceStatus, topic)
        if device not in self._devices and len(self._devices) >= self._max_devices:
            raise ProtocolError(
                RejectReason.QUOTA_EXCEEDED, f"more than {self._max_devices} devices"
            )
        self._devices[device] = status.key
        return status

    def by_device(self, device: str, topic: str, payload: bytes, kind: type[Kind]) -> Kind:
        """A message of a device whose status has been heard."""
        key = self._devices.get(device)
        if key is None:
            raise ProtocolError(RejectReason.WRONG_SIGNATURE, f"{device} has shown no status")
        return open_signed(payload, kind, topic, key, f"not signed with {device}'s key")
