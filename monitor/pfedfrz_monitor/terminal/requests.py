"""What an operator can ask for with a key, and what it means, said before it is done."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import (
    AcceptDevice,
    DesiredState,
    OperatorAction,
    Pause,
    QuarantineDevice,
    ReadmitDevice,
    Resume,
    RevokeDevice,
)

from ..device_view import Standing
from ..view import FederationView

__all__ = ["Impossible", "Proposal", "propose"]


@dataclass(frozen=True)
class Proposal:
    """A request that waits for a yes."""

    title: str
    meaning: str
    action: OperatorAction
    typed: str = ""
    """What has to be typed in place of a yes."""


@dataclass(frozen=True)
class Impossible:
    """Why there is nothing to ask for."""

    why: str


def propose(view: FederationView, what: str, device: str | None) -> Proposal | Impossible:
    """The request behind a key, for the device that is chosen."""
    if what == "pause":
        return _pause(view)
    if device is None or device not in view.devices:
        return Impossible("no device is chosen")
    standing = view.devices[device].standing
    if what == "accept":
        if standing is Standing.ENROLLED:
            return Impossible(f"{device} is let in already")
        if standing is Standing.QUARANTINED:
            return Impossible(f"{device} is quarantined: readmit it")
        return Proposal(
            f"Accept {device}?",
            "It is let in with the key that it asked with, and takes part from the next round on.",
            AcceptDevice(device),
        )
    if what == "quarantine":
        if standing in (Standing.QUARANTINED, Standing.REVOKED):
            return Impossible(f"{device} is {standing.value} already")
        return Proposal(
            f"Quarantine {device}?",
            "Its updates are no longer taken and it is not selected, until it is readmitted.",
            QuarantineDevice(device, "by hand"),
        )
    if what == "readmit":
        if standing is not Standing.QUARANTINED:
            return Impossible(f"{device} is not quarantined")
        return Proposal(
            f"Readmit {device}?",
            "It may take part again from the next round on; its faults are forgotten.",
            ReadmitDevice(device),
        )
    if standing is Standing.REVOKED:
        return Impossible(f"{device} is revoked already")
    return Proposal(
        f"Revoke the key of {device}?",
        "The key is good for nothing any more, for ever. The device comes back only with a new "
        "key that is accepted. Take its account off the broker too.",
        RevokeDevice(device),
        typed=device,
    )


def _pause(view: FederationView) -> Proposal | Impossible:
    if view.desired is DesiredState.STOP:
        return Impossible("the rounds are over")
    if view.desired is DesiredState.PAUSE:
        return Proposal("Resume the rounds?", "The next round is opened.", Resume())
    return Proposal(
        "Pause the rounds?",
        "The open round goes on to its end, and no further one is opened until somebody resumes. "
        "This lasts over restarts of the coordinator.",
        Pause(),
    )
