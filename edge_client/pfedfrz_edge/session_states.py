"""The states of a device's session and every transition that there is."""

from __future__ import annotations

import enum

__all__ = ["TRANSITIONS", "SessionState", "Signal"]


class SessionState(str, enum.Enum):
    """What the device is doing for the current round."""

    IDLE = "idle"
    """Nothing to do: not selected, or the round is settled."""
    WAITING = "waiting"
    """A round is to be done, and the device may not train now."""
    FETCHING = "fetching"
    """Collecting the chunks of the round's model."""
    WORKING = "working"
    """Evaluating and training."""
    PAUSED = "paused"
    """The work is held up between two batches, until the device may train again."""
    READY = "ready"
    """The update is on disk and announced; waiting for a grant."""
    UPLOADING = "uploading"
    """Sending chunks, or waiting for the coordinator's verdict on them."""


class Signal(str, enum.Enum):
    """What can happen to a session, after the session has judged what came in."""

    WAIT = "wait"
    FETCH = "fetch"
    WORK = "work"
    RESUME = "resume"
    PAUSE = "pause"
    CONTINUE = "continue"
    UPDATE_MADE = "update made"
    WORK_OVER = "work over"
    GRANTED = "granted"
    INTERRUPTED = "interrupted"
    SETTLED = "settled"
    SUPERSEDED = "superseded"


_IDLE, _WAITING, _FETCHING, _WORKING, _PAUSED, _READY, _UPLOADING = SessionState

TRANSITIONS: dict[tuple[SessionState, Signal], SessionState] = {
    (_IDLE, Signal.FETCH): _FETCHING,
    (_IDLE, Signal.WORK): _WORKING,
    (_IDLE, Signal.RESUME): _READY,
    (_IDLE, Signal.WAIT): _WAITING,
    (_WAITING, Signal.FETCH): _FETCHING,
    (_WAITING, Signal.WORK): _WORKING,
    (_FETCHING, Signal.WAIT): _WAITING,
    (_FETCHING, Signal.WORK): _WORKING,
    (_WORKING, Signal.PAUSE): _PAUSED,
    (_PAUSED, Signal.CONTINUE): _WORKING,
    (_PAUSED, Signal.UPDATE_MADE): _READY,
    (_PAUSED, Signal.WORK_OVER): _IDLE,
    (_WORKING, Signal.UPDATE_MADE): _READY,
    (_WORKING, Signal.WORK_OVER): _IDLE,
    (_READY, Signal.GRANTED): _UPLOADING,
    (_READY, Signal.INTERRUPTED): _READY,
    (_READY, Signal.SETTLED): _IDLE,
    (_UPLOADING, Signal.GRANTED): _UPLOADING,
    (_UPLOADING, Signal.INTERRUPTED): _READY,
    (_UPLOADING, Signal.SETTLED): _IDLE,
    **{(state, Signal.SUPERSEDED): _IDLE for state in SessionState},
}
