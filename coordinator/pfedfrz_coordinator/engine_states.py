"""The states of the round engine and of a round's members, and every transition that there is."""

from __future__ import annotations

import enum

__all__ = [
    "ENGINE_TRANSITIONS",
    "MEMBER_TRANSITIONS",
    "EngineSignal",
    "EngineState",
    "MemberSignal",
    "MemberState",
]


class EngineState(str, enum.Enum):
    """What the federation is doing."""

    WAITING = "waiting"
    """Between rounds: not enough devices, or paused."""
    COLLECTING = "collecting"
    """A round is open."""
    AGGREGATING = "aggregating"
    """The updates are in and the next model is being made."""
    FINISHED = "finished"
    """All rounds are done, or somebody stopped the federation."""


class EngineSignal(str, enum.Enum):
    """What can happen to the engine, after it has judged what came in."""

    OPEN = "open"
    REOPEN = "reopen"
    CLOSE = "close"
    REPORTS_IN = "reports in"
    AGGREGATED = "aggregated"
    UPDATES_LOST = "updates lost"
    FINISH = "finish"


_WAITING, _COLLECTING, _AGGREGATING, _FINISHED = EngineState

ENGINE_TRANSITIONS: dict[tuple[EngineState, EngineSignal], EngineState] = {
    (_WAITING, EngineSignal.OPEN): _COLLECTING,
    (_WAITING, EngineSignal.FINISH): _FINISHED,
    (_COLLECTING, EngineSignal.REOPEN): _WAITING,
    (_COLLECTING, EngineSignal.CLOSE): _AGGREGATING,
    (_COLLECTING, EngineSignal.REPORTS_IN): _WAITING,
    (_COLLECTING, EngineSignal.FINISH): _FINISHED,
    (_AGGREGATING, EngineSignal.AGGREGATED): _WAITING,
    (_AGGREGATING, EngineSignal.UPDATES_LOST): _WAITING,
    (_AGGREGATING, EngineSignal.FINISH): _FINISHED,
}


class MemberState(str, enum.Enum):
    """Where one selected device is in the open round."""

    PENDING = "pending"
    """Nothing heard yet."""
    OFFERED = "offered"
    """Its update is ready and waits for a grant."""
    GRANTED = "granted"
    """It may upload."""
    ACCEPTED = "accepted"
    """Its update is on disk."""
    REPORTED = "reported"
    """It has answered an evaluation round."""
    REJECTED = "rejected"
    """Its update was refused."""
    FAILED = "failed"
    """It said that it cannot take part."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected of the device in this round."""
        return self not in (MemberState.PENDING, MemberState.OFFERED, MemberState.GRANTED)


class MemberSignal(str, enum.Enum):
    """What can happen to a member."""

    OFFER = "offer"
    GRANT = "grant"
    GRANT_EXPIRED = "grant expired"
    ACCEPT = "accept"
    REJECT = "reject"
    REPORT = "report"
    FAIL = "fail"


_OPEN_MEMBER = (MemberState.PENDING, MemberState.OFFERED, MemberState.GRANTED)

MEMBER_TRANSITIONS: dict[tuple[MemberState, MemberSignal], MemberState] = {
    **{(state, MemberSignal.OFFER): MemberState.OFFERED for state in _OPEN_MEMBER},
    **{(state, MemberSignal.FAIL): MemberState.FAILED for state in _OPEN_MEMBER},
    **{(state, MemberSignal.REJECT): MemberState.REJECTED for state in _OPEN_MEMBER},
    (MemberState.OFFERED, MemberSignal.GRANT): MemberState.GRANTED,
    (MemberState.GRANTED, MemberSignal.GRANT_EXPIRED): MemberState.OFFERED,
    (MemberState.GRANTED, MemberSignal.ACCEPT): MemberState.ACCEPTED,
    (MemberState.PENDING, MemberSignal.REPORT): MemberState.REPORTED,
}
