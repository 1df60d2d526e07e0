"""States as Home Assistant reads them: small JSON objects, shares in percent."""

from __future__ import annotations

from itertools import islice

import msgspec

from pfedfrz_protocol import DesiredState, Presence, RoundBrief

from ..device_view import Standing
from ..view import FederationView

__all__ = ["DeviceState", "FederationState", "device_state", "federation_state"]

_ROUNDS_BACK = 20
_WORDS = {DesiredState.RUN: "running", DesiredState.PAUSE: "paused", DesiredState.STOP: "over"}


class FederationState(msgspec.Struct, frozen=True):
    """The federation. None stands for what is not known."""

    round: int
    state: str
    paused: bool
    coordinator: bool
    devices: int
    online: int
    received: float | None
    local: float | None
    rejected: int | None
    uplink: int | None
    downlink: int | None


class DeviceState(msgspec.Struct, frozen=True):
    """One device."""

    connected: bool
    stage: str
    local: float | None
    cosine: float | None
    samples: int


def federation_state(view: FederationView) -> FederationState:
    """What the view says of the federation; the last closed round's numbers."""
    last = _last_brief(view)
    number = view.announcement.round if view.announcement else max(view.rounds, default=0)
    coordinator = view.coordinator
    return FederationState(
        number,
        _WORDS[view.desired] if view.desired else "unknown",
        view.desired is DesiredState.PAUSE,
        coordinator is not None and coordinator.presence is not Presence.OFFLINE,
        len(view.devices),
        sum(device.presence is not Presence.OFFLINE for device in view.devices.values()),
        _percent(last.received_mean if last else None),
        _percent(last.local_mean if last else None),
        last.rejected if last else None,
        last.uplink_bytes if last else None,
        last.downlink_bytes if last else None,
    )


def device_state(view: FederationView, name: str) -> DeviceState:
    """What the view says of a device."""
    device = view.devices[name]
    if device.standing is not Standing.ENROLLED:
        stage = "kept-out"
    elif device.presence is not Presence.ONLINE:
        stage = device.presence.value
    else:
        stage = device.stage.value
    cosine = None
    for here in islice(reversed(view.rounds.values()), _ROUNDS_BACK):
        cell = here.cells.get(name)
        if cell is not None and cell.norm is not None:
            cosine = cell.cosine
            break
    return DeviceState(
        device.presence is not Presence.OFFLINE,
        stage,
        _percent(device.latest.local if device.latest else None),
        None if cosine is None else round(cosine, 4),
        device.samples,
    )


def _last_brief(view: FederationView) -> RoundBrief | None:
    for here in reversed(view.rounds.values()):
        if here.brief is not None:
            return here.brief
    return None


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 2)
