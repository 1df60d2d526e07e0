"""Asking the coordinator to do something, and hearing what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from pfedfrz_coordinator.epochs import seconds_since_2020
from pfedfrz_protocol import (
    OperatorAction,
    OperatorAnswer,
    OperatorRequest,
    Presence,
    SigningKey,
    sign_message,
)
from pfedfrz_transport import Link, LinkOverflow

from .view import FederationView

__all__ = ["Operator"]

_ANSWER_WITHIN_S = 10.0


@dataclass
class _Pending:
    answer: Future[OperatorAnswer]
    asked_s: float


class Operator:
    """One operator's requests over one link. For the thread that owns the link."""

    def __init__(
        self,
        name: str,
        key: SigningKey,
        view: FederationView,
        link: Link,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._key = key
        self._view = view
        self._link = link
        self._clock = clock
        self._wall_clock = wall_clock
        self._last = 0
        self._pending: dict[int, _Pending] = {}

    @property
    def answers(self) -> str:
        """The topic on which answers come."""
        return self._view.topics.operator(self.name, "answer")

    def ask(self, action: OperatorAction, answer: Future[OperatorAnswer]) -> None:
        """Send a request; `answer` gets its answer, or why there is none, as one that is not done.

        Nothing is sent to a coordinator that is away: what a person wanted an hour ago is not what
        they want when it comes back. Nor is anything of which nobody waits to hear any more.
        """
        # From here on nobody can cancel it, and setting its result cannot fail.
        if not answer.set_running_or_notify_cancel():
            return
        status = self._view.coordinator
        if not self._link.is_up:
            answer.set_result(_refusal("the broker is away"))
            return
        if status is None or status.presence is Presence.OFFLINE:
            answer.set_result(_refusal("the coordinator is away"))
            return
        # A watcher that was started again goes on behind its serials of before.
        serial = max(self._last + 1, seconds_since_2020(int(self._wall_clock())) or 0)
        self._last = serial
        request = OperatorRequest(status.epoch, serial, action)
        topic = self._view.topics.operator(self.name, "request")
        try:
            self._link.publish(topic, sign_message(request, topic, self._key))
        except LinkOverflow:
            answer.set_result(_refusal("too many requests at once"))
            return
        self._pending[serial] = _Pending(answer, self._clock())

    def hear(self, payload: bytes) -> None:
        """Take a message from `answers`; ProtocolError when it is not the coordinator's."""
        signatures = self._view.signatures
        answer = signatures.by_coordinator(self.answers, payload, OperatorAnswer)
        pending = self._pending.pop(answer.serial, None)
        if pending is not None:
            pending.answer.set_result(answer)

    def give_up(self, *, at_once: bool = False) -> None:
        """Answer requests that have waited too long, or all of them."""
        for serial, pending in list(self._pending.items()):
            if at_once or self._clock() > pending.asked_s + _ANSWER_WITHIN_S:
                del self._pending[serial]
                pending.answer.set_result(
                    _refusal(
                        f"no answer within {_ANSWER_WITHIN_S:g} s: does the coordinator know the "
                        f"operator {self.name!r} by this key?"
                    )
                )


def _refusal(why: str) -> OperatorAnswer:
    return OperatorAnswer(0, 0, False, why)
