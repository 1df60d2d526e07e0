"""What operators ask over MQTT, and what becomes of it.

A request counts once, in one life of the coordinator: it is signed with the key that the list has
for its operator, for that operator's topic; it carries the epoch of the coordinator's status, which
grows with every start; and its serial is above all that this operator has used in this life. What
anybody could have written is counted and not answered. What an operator has signed is answered, and
when it comes again, as QoS 1 allows, the same answer is given and nothing is done.

A request is written into the journal before it is executed: nothing happens that is not there.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from pfedfrz_protocol import (
    AcceptDevice,
    ConfigurationError,
    OperatorAction,
    OperatorAnswer,
    OperatorRequest,
    OperatorTopic,
    Pause,
    PermitJoin,
    ProtocolError,
    QuarantineDevice,
    ReadmitDevice,
    RejectReason,
    Resume,
    RevokeDevice,
    open_signed,
)

from .admission import Admission
from .ignored_messages import IgnoredMessages
from .journal import Journal
from .key_lists import FollowedKeys
from .publication import Publication
from .quotas import QuotaPolicy, Quotas
from .registry import Registry

__all__ = ["OperatorDesk"]

log = logging.getLogger(__name__)
_LONGEST_REQUEST = 8192
_ANSWERS_KEPT = 64
_STRANGERS = ""
_QUOTA = QuotaPolicy(messages_per_s=5.0, burst_messages=50, strangers_burst=50)
"""For people, not for programs: each request is a few writes to the disk."""


@dataclass
class _Operator:
    """One operator in this life of the coordinator."""

    key: str
    serial: int = -1
    """The highest so far."""
    answers: OrderedDict[bytes, OperatorAnswer] = field(default_factory=OrderedDict)
    """To the last requests, by what these were."""


class OperatorDesk:
    """Hears the operators of one federation."""

    def __init__(
        self,
        listed: FollowedKeys,
        epoch: int,
        registry: Registry,
        admission: Admission,
        journal: Journal,
        publication: Publication,
        ignored: IgnoredMessages,
        follow: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`epoch` is that of the coordinator's status; `follow` makes it follow the registry.

        ConfigurationError when the list cannot be read.
        """
        self._listed = listed
        self._epoch = epoch
        self._registry = registry
        self._admission = admission
        self._journal = journal
        self._publication = publication
        self._ignored = ignored
        self._follow = follow
        self._quotas = Quotas(_QUOTA, clock)
        self._operators: dict[str, _Operator] = {}
        self.look_for_changes()

    def look_for_changes(self) -> None:
        """Follow the list of operators. One with another key begins anew."""
        if self._listed.look():
            self._operators = {
                name: known
                if (known := self._operators.get(name)) is not None and known.key == key
                else _Operator(key)
                for name, key in self._listed.keys.items()
            }
            log.info("operators: %s", ", ".join(sorted(self._operators)) or "none")

    def on_message(self, sender: OperatorTopic, topic: str, payload: bytes) -> None:
        """A message on an operator's topic, within its quota; never raises for what it says."""
        if sender.leaf != "request":
            return
        known = self._operators.get(sender.operator)
        try:
            if not self._quotas.take(sender.operator if known else _STRANGERS, len(payload)):
                raise ProtocolError(RejectReason.QUOTA_EXCEEDED, "too many requests")
            if known is None:
                raise ProtocolError(
                    RejectReason.NOT_ENROLLED, f"no operator {sender.operator} is known here"
                )
            if len(payload) > _LONGEST_REQUEST:
                raise ProtocolError(RejectReason.TOO_LARGE, f"a request of {len(payload)} bytes")
            request = open_signed(
                payload,
                OperatorRequest,
                topic,
                known.key,
                f"not signed with the operator {sender.operator}'s key",
            )
        except ProtocolError as error:
            self._ignored.add(topic, error)
            return
        self._answer(sender.operator, known, request, hashlib.sha256(payload).digest())

    def _answer(
        self, name: str, known: _Operator, request: OperatorRequest, identity: bytes
    ) -> None:
        answer = known.answers.get(identity)
        if answer is None:
            fault = self._fault(known, request)
            if fault is None:
                known.serial = request.serial
                done, detail = self._execute(name, request.action)
            else:
                done, detail = False, fault
            answer = OperatorAnswer(request.epoch, request.serial, done, detail)
            if fault is None:
                known.answers[identity] = answer
                if len(known.answers) > _ANSWERS_KEPT:
                    known.answers.popitem(last=False)
        self._publication.answer(name, answer)

    def _fault(self, known: _Operator, request: OperatorRequest) -> str | None:
        """Why a request that is the operator's own does not count; None when it does."""
        if request.epoch != self._epoch:
            return "asked before the coordinator's restart; ask again"
        if request.serial <= known.serial:
            return f"serial {request.serial} is not above {known.serial}, the last; ask again"
        return None

    def _execute(self, operator: str, action: OperatorAction) -> tuple[bool, str]:
        asked = f"operator {operator}: {_words(action)}"
        log.info("%s", asked)
        try:
            self._journal.note(asked)
            detail = self._do(operator, action)
        except ConfigurationError as error:
            log.warning("%s: not done: %s", asked, error)
            self._journal.note(f"{asked}: not done: {error}")
            return False, str(error)
        self._follow()
        return True, detail

    def _do(self, operator: str, action: OperatorAction) -> str:
        """Change what is asked; what was done, in words. Raises what the registry raises."""
        match action:
            case Pause():
                self._registry.pause(True)
                return "paused: the open round goes on to its end, and no other is opened"
            case Resume():
                self._registry.pause(False)
                return "rounds are opened again"
            case AcceptDevice(device, key):
                self._admission.accept(device, key)
                return f"{device} is let in"
            case QuarantineDevice(device, reason):
                why = f"by the operator {operator}" + (f": {reason}" if reason else "")
                self._admission.quarantine(device, why)
                return f"{device} is kept out until it is readmitted"
            case ReadmitDevice(device):
                self._admission.readmit(device)
                return f"{device} is back"
            case RevokeDevice(device):
                self._admission.revoke(device)
                return f"the key of {device} is revoked; take its account off the broker too"
            case PermitJoin(seconds):
                self._admission.permit_join(seconds)
                return f"new devices are let in for {seconds:g} s" if seconds else "nobody joins"


def _words(action: OperatorAction) -> str:
    """A request in a line of the journal."""
    match action:
        case Pause():
            return "pause"
        case Resume():
            return "resume"
        case AcceptDevice(device, key):
            return f"accept {device}" + (f" with the key {key[:12]}..." if key else "")
        case QuarantineDevice(device, reason):
            return f"quarantine {device}" + (f": {reason}" if reason else "")
        case ReadmitDevice(device):
            return f"readmit {device}"
        case RevokeDevice(device):
            return f"revoke {device}"
        case PermitJoin(seconds):
            return f"permit joining for {seconds:g} s"
