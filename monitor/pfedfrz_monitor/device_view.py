"""One device as its messages show it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pfedfrz_protocol import LocalReport, Presence

__all__ = ["DeviceView", "Stage", "Standing"]


class Stage(str, enum.Enum):
    """How far a device is with its part in a round."""

    IDLE = "idle"
    SELECTED = "selected"
    TRAINING = "training"
    READY = "ready"
    """The update waits on the device until it may be uploaded."""
    UPLOADING = "uploading"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    EVALUATED = "evaluated"


class Standing(str, enum.Enum):
    """Whether the coordinator works with a device."""

    ENROLLED = "enrolled"
    """Or not yet heard to be anything else."""
    WAITING = "waiting"
    """For a person to accept it."""
    QUARANTINED = "quarantined"
    REVOKED = "revoked"
    REFUSED = "refused"
    """For another reason, which `refusal` says."""


@dataclass(slots=True)
class DeviceView:
    """One device."""

    presence: Presence = Presence.OFFLINE
    waiting_for: str = ""
    """Why it does not train now, as it says itself."""
    standing: Standing = Standing.ENROLLED
    refusal: str = ""
    """Why the coordinator does not work with it."""
    stage: Stage = Stage.IDLE
    stage_round: int = 0
    """The round that the stage is about."""
    progress: float = 0.0
    """Of the training of that round, 0 to 1, by ended epochs."""
    doing: str = ""
    """The same for people, in one line."""
    bundle: str = ""
    """Digest of the one that its last status named."""
    runtime: str = ""
    samples: int = 0
    label_counts: tuple[int, ...] = ()
    """Training samples of each class; nothing unless its owner shares them."""
    latest: LocalReport | None = None
    """The newest report, from round `latest_round`."""
    latest_round: int = 0
    last_local: float | None = None
    """The newest accuracy after training: a round that only measures leaves it as it is."""
    cosines: tuple[float, ...] = ()
    """Of its last updates to the mean of the others', oldest first."""
    opposes: bool = False
    """Whether it keeps pulling against the others."""
    updates_accepted: int = 0
    """Since the watch began, as all that follows."""
    updates_rejected: int = 0
    failures: int = 0
    train_s: float = 0.0
    evaluate_s: float = 0.0
    downloaded_bytes: int = 0
    heard_at: float = 0.0
    """When its last message came, by this machine's clock in Unix seconds."""
    notes_left: float = 20.0
    """Lines of the log that it may still bring about, as of `noted_at`."""
    noted_at: float = 0.0
    revision: int = 0
    """The view's own, when this device last changed."""
