"""The round engine: who takes part, when a round opens and closes, and what each device is told.

Decisions only: events and the time go in, actions come out (the style of h11). The service executes
the actions; the same engine runs under MQTT, under the in-memory link and in property tests.

A round stays open until every selected device is settled or its deadline passes. With too few
updates at the deadline it is opened again under a new epoch: updates that were accepted stay, and
whoever has not delivered (or came later) is asked. Too few are fewer than the quorum, and fewer
than the aggregation rule needs: a rule is never applied beyond what it stands, nor replaced.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from pfedfrz_protocol import (
    Accepted,
    DesiredState,
    Grant,
    ModelReference,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    next_state,
)

from .engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    ControlRequested,
    DeviceAppeared,
    DeviceBarred,
    DeviceFailed,
    DeviceHeard,
    DeviceLost,
    DeviceWaits,
    EvaluationReported,
    Event,
    ExpectUpload,
    Finish,
    Note,
    OpenRound,
    SendCommand,
    Tick,
    UpdateOffered,
    UpdateRefused,
    UpdatesLost,
    UpdatesStored,
    UpdateStored,
    UploadProgressed,
)
from .engine_states import (
    ENGINE_TRANSITIONS,
    EngineSignal,
    EngineState,
    MemberSignal,
    MemberState,
)
from .open_round import Member, OpenRoundState
from .policy import RoundPolicy

__all__ = ["RoundEngine", "StartingPoint"]


@dataclass(frozen=True)
class StartingPoint:
    """Where the engine begins: a new federation, or what the journal says after a restart."""

    model: ModelReference
    epoch: int
    completed: int = 0
    """The last closed round."""
    accepted: tuple[str, ...] = ()
    """Devices whose updates for round `completed + 1` are already on disk."""
    owing: tuple[str, ...] = ()
    """The other members of that round, when it was open before a restart."""
    late: tuple[tuple[str, int], ...] = ()
    """Of the accepted, those made in an earlier round, with that round."""
    counted: tuple[tuple[str, int], ...] = ()
    """The newest round of which each device has given an update, among the last rounds."""
    recent: tuple[tuple[int, str], ...] = ()
    """(round, digest of its model) of the last rounds, whose updates may be welcome still."""


_MISSED_DEADLINES = 2
_NO_SIGN_OF_LIFE = (
    Tick, AggregationDone, ControlRequested, DeviceLost, DeviceBarred, UpdatesStored, UpdatesLost
)  # fmt: skip


class RoundEngine:
    """The state machine of one federation's rounds."""

    def __init__(
        self,
        policy: RoundPolicy,
        bundle_digest: str,
        start: StartingPoint,
        now_s: float,
        *,
        fewest_updates: int = 1,
    ) -> None:
        """`now_s` is any monotonic clock in seconds, the same that `handle` is given.

        `fewest_updates` is what the aggregation rule needs, whatever the policy asks for.
        """
        self._policy = policy
        self._fewest_updates = fewest_updates
        self._waiting_noted = False
        """That devices are too few for the rule is told once each time."""
        self._bundle = bundle_digest
        self._model = start.model
        self._epoch = start.epoch
        self._completed = start.completed
        self._kept = dict.fromkeys(start.accepted, start.completed + 1) | dict(start.late)
        """Devices that have given to the round to be opened, and the rounds of their updates."""
        self._owing = set(start.owing)
        self._counted = dict(start.counted)
        """The newest round of which each device has given an update, where late ones are welcome:
        one that is said again counts for no later model."""
        self._models = dict(start.recent)
        """Digest of the model that each recent round began with."""
        self._state = EngineState.WAITING
        self._desired = DesiredState.RUN
        self._present: set[str] = set()
        self._silent: set[str] = set()
        """Devices that let deadlines pass without a word: not counted on until heard again.

        A device that dies together with its broker leaves no last will.
        """
        self._waiting: set[str] = set()
        """Devices that are there and may not train: not selected, and listened to."""
        self._missed: Counter[str] = Counter()
        """Deadlines in a row that a device has let pass."""
        self._round: OpenRoundState | None = None
        self._started = False
        self._start_by_s = now_s + policy.start_timeout_s
        self._start_timed_out = False
        """Whether `_start_by_s` has passed: a Tick for it would come again and again."""

    @property
    def state(self) -> EngineState:
        """What the federation is doing."""
        return self._state

    @property
    def epoch(self) -> int:
        """The epoch of the current announcement."""
        return self._epoch

    @property
    def round(self) -> int:
        """The number of the open round, or of the last closed one between rounds."""
        return self._round.number if self._round else self._completed

    @property
    def present(self) -> frozenset[str]:
        """The devices that are online."""
        return frozenset(self._present)

    @property
    def presences(self) -> tuple[int, int, int]:
        """How many devices are online, how many wait, how many have let deadlines pass."""
        return len(self._present), len(self._waiting), len(self._silent)

    @property
    def is_paused(self) -> bool:
        """Whether somebody wants no round to be opened."""
        return self._desired is DesiredState.PAUSE

    def is_present(self, device: str) -> bool:
        """Whether the device is online and answers."""
        return device in self._present

    def is_waiting(self, device: str) -> bool:
        """Whether the device is there and may not train."""
        return device in self._waiting

    def is_silent(self, device: str) -> bool:
        """Whether a sign of life of the device would change anything."""
        return device in self._silent

    def awaits_upload(self, device: str, number: int) -> bool:
        """Whether the device has a grant, in the open round of that number, and may use it."""
        return self._granted(device, number) is not None

    def wake_at_s(self) -> float | None:
        """When a Tick is due at the latest; None when only messages can change anything."""
        if self._state is EngineState.WAITING and not (self._started or self._start_timed_out):
            return self._start_by_s
        if self._round is None or self._state is not EngineState.COLLECTING:
            return None
        expiries = (
            member.granted_s + self._policy.grant_timeout_s
            for member in self._round.granted.values()
        )
        return min(self._round.deadline_s, *expiries, math.inf)

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """The actions that `event` calls for, in the order in which they must be executed."""
        if self._state is EngineState.FINISHED:
            return self._late(event)
        if not isinstance(event, _NO_SIGN_OF_LIFE):
            self._missed.pop(event.device, None)
        match event:
            case DeviceAppeared(device):
                self._silent.discard(device)
                self._waiting.discard(device)
                if self._has_room:
                    self._present.add(device)
                actions: list[Action] = []
            case DeviceHeard(device):
                if device in self._silent:
                    self._silent.discard(device)
                    self._present.add(device)
                actions = []
            case UploadProgressed(device, number):
                member = self._granted(device, number)
                if member:
                    # The grant expires by silence, not by age: a slow link still finishes.
                    member.granted_s = now_s
                actions = []
            case DeviceLost(device):
                self._waiting.discard(device)
                actions = self._on_lost(device, "went away")
            case DeviceWaits(device, reason):
                actions = self._on_waits(device, reason)
            case DeviceBarred(device, reason):
                actions = self._on_barred(device, reason)
            case UpdateOffered():
                actions = self._on_offer(event)
            case UpdateStored(device, number):
                actions = self._on_stored(device, number)
            case UpdatesStored(stored):
                actions = [a for one in stored for a in self._on_stored(one.device, one.round)]
            case UpdateRefused():
                actions = self._on_refused(event)
            case EvaluationReported():
                actions = self._on_report(event)
            case DeviceFailed():
                actions = self._on_failed(event)
            case AggregationDone(model):
                actions = self._on_aggregated(model)
            case UpdatesLost():
                actions = self._on_updates_lost(event)
            case ControlRequested(desired):
                actions = self._on_control(desired)
            case Tick():
                actions = []
        return [*actions, *self._advance(now_s)]

    def _move(self, signal: EngineSignal) -> None:
        self._state = next_state(ENGINE_TRANSITIONS, self._state, signal)

    # Time and progress

    def _advance(self, now_s: float) -> list[Action]:
        """Everything that follows from the state as it is now."""
        actions: list[Action] = []
        if self._state is EngineState.COLLECTING:
            actions += self._expire_grants(now_s)
            closed = self._close_if_over(now_s)
            actions += self._grant(now_s) if closed is None else closed
        if self._state is EngineState.WAITING:
            actions += self._open_if_possible(now_s)
        return actions

    def _open_if_possible(self, now_s: float) -> list[Action]:
        policy = self._policy
        number = self._completed + 1
        last = policy.rounds + (1 if policy.evaluate else 0)
        if number > last:
            self._move(EngineSignal.FINISH)
            return [Finish()]
        needed = policy.min_devices
        self._start_timed_out = self._start_timed_out or now_s >= self._start_by_s
        if not (self._started or self._start_timed_out):
            needed = max(needed, policy.start_devices)
        evaluating = number > policy.rounds
        purpose = Purpose.EVALUATE if evaluating else Purpose.TRAIN
        if evaluating:
            self._kept, self._owing = {}, set()
        # After a restart the round goes on with its members, whether they are back already or not:
        # what is accepted counts, and the others have until the deadline.
        known = self._present
        if self._kept or self._owing:
            known = known | self._kept.keys() | self._owing
        if self._desired is not DesiredState.RUN or len(known) < needed:
            return []
        if not evaluating and len(known) < self._fewest_updates:
            return self._note_waiting(number, len(known))
        if evaluating:
            asked = sorted(self._present)
        else:
            asked = sorted(self._owing - self._kept.keys()) if self._owing else self._select(number)
        if not asked and not self._kept:
            return []
        self._started, self._waiting_noted = True, False
        members = {device: Member() for device in asked}
        members.update(
            {d: Member(MemberState.ACCEPTED, origin=origin) for d, origin in self._kept.items()}
        )
        self._kept, self._owing = {}, set()
        enough = 0 if evaluating or not policy.enough else min(policy.enough, len(members))
        self._round = OpenRoundState(
            number, purpose, now_s + policy.deadline_s, members,
            max(enough, self._fewest_updates) if enough else 0,
        )  # fmt: skip
        self._models[number] = self._model.digest
        for old in [n for n in self._models if n < number - policy.stale_rounds]:
            del self._models[old]
        self._move(EngineSignal.OPEN)
        opened = OpenRound(
            RoundAnnouncement(
                number,
                self._epoch,
                self._bundle,
                purpose,
                self._model,
                self._round.unsettled(),
                policy.deadline_s,
                0 if evaluating else policy.stale_rounds,
            )
        )
        return [opened, *(self._close_if_over(now_s) or [])]

    def _note_waiting(self, number: int, known: int) -> list[Action]:
        if self._waiting_noted or not (self._started or self._start_timed_out):
            return []
        self._waiting_noted = True
        return [
            Note(
                f"round {number} waits: {known} devices, and the aggregation rule needs "
                f"{self._fewest_updates} updates"
            )
        ]

    def _select(self, number: int) -> list[str]:
        """The devices of a round: a seeded draw among those that are there and have not given."""
        candidates = sorted(self._present - self._kept.keys())
        wanted = self._policy.places
        if not wanted:
            return candidates
        places = max(0, wanted - len(self._kept))
        if places >= len(candidates):
            return candidates
        key = f"{self._policy.seed}/{number}/{self._epoch}".encode()
        entropy = int.from_bytes(hashlib.sha256(key).digest(), "big")
        drawn = np.random.default_rng(entropy).choice(len(candidates), places, replace=False)
        return sorted(candidates[int(index)] for index in drawn)

    def _close_if_over(self, now_s: float) -> list[Action] | None:
        """Close or reopen the round if nothing more can come of it; None while it goes on."""
        current = self._round
        if current is None:
            return None
        overdue = now_s >= current.deadline_s
        if not overdue and current.has_unsettled and not current.has_enough:
            return None
        unsettled = current.unsettled()
        missing_note: list[Action] = []
        if unsettled and overdue:
            names = ", ".join(unsettled)
            missing_note = [Note(f"round {current.number}: deadline passed without {names}")]
            self._count_missed(current.in_state(MemberState.PENDING))
        if current.purpose is Purpose.EVALUATE:
            self._completed, self._round = current.number, None
            self._move(EngineSignal.REPORTS_IN)
            return [*missing_note, CloseRound(current.number, current.purpose, unsettled)]
        accepted = current.count(MemberState.ACCEPTED)
        quorum = math.ceil(self._policy.quorum * (current.enough or len(current.members)))
        if accepted >= max(1, quorum, self._fewest_updates):
            self._move(EngineSignal.CLOSE)
            devices = current.in_state(MemberState.ACCEPTED)
            return [*missing_note, Aggregate(current.number, devices)]
        if not overdue:
            # Everybody has answered and too few have delivered: wait, do not spin.
            return None
        self._reopen(current, EngineSignal.REOPEN)
        short = "below the quorum"
        if accepted >= quorum:
            short = f"fewer than the {self._fewest_updates} that the aggregation rule needs"
        text = (
            f"round {current.number}: {accepted} of {len(current.members)} updates at the "
            f"deadline, {short}; opened again"
        )
        return [*missing_note, Note(text)]

    def _reopen(
        self, current: OpenRoundState, signal: EngineSignal, lost: tuple[str, ...] = ()
    ) -> None:
        """Open the round again under a new epoch; what was accepted stays, but for what is lost."""
        accepted = current.in_state(MemberState.ACCEPTED)
        self._kept = {d: current.members[d].origin for d in accepted if d not in set(lost)}
        self._round = None
        self._epoch += 1
        self._move(signal)

    def _on_updates_lost(self, lost: UpdatesLost) -> list[Action]:
        current = self._round
        if (
            current is None
            or self._state is not EngineState.AGGREGATING
            or current.number != lost.round
        ):
            return []
        self._reopen(current, EngineSignal.UPDATES_LOST, lost.devices)
        return [
            Note(
                f"round {lost.round}: accepted updates are gone and asked for again: "
                f"{', '.join(lost.devices)}"
            )
        ]

    def _count_missed(self, devices: tuple[str, ...]) -> None:
        self._missed.update(devices)
        for device in devices:
            if self._missed[device] >= _MISSED_DEADLINES and device in self._present:
                self._present.discard(device)
                self._silent.add(device)

    def _on_aggregated(self, model: ModelReference) -> list[Action]:
        current = self._round
        if current is None or self._state is not EngineState.AGGREGATING:
            return []
        self._model = model
        self._completed, self._round = current.number, None
        self._move(EngineSignal.AGGREGATED)
        return [CloseRound(current.number, current.purpose, current.unsettled())]

    def _on_control(self, desired: DesiredState) -> list[Action]:
        self._desired = desired
        if desired is not DesiredState.STOP:
            return []
        self._round = None
        self._move(EngineSignal.FINISH)
        return [Finish()]

    # Devices

    @property
    def _has_room(self) -> bool:
        return len(self._present) + len(self._waiting) < self._policy.max_devices

    def _on_waits(self, device: str, reason: str) -> list[Action]:
        """It stays a member of the round, and may deliver until the deadline."""
        actions = self._on_lost(device, f"waits ({reason})")
        if self._has_room:
            self._waiting.add(device)
        return actions

    def _on_lost(self, device: str, how: str) -> list[Action]:
        self._silent.discard(device)
        if device not in self._present:
            return []
        self._present.discard(device)
        member = self._round.members.get(device) if self._round else None
        if self._round is None or member is None or member.state.settled or member.lost_noted:
            return []
        member.lost_noted = True
        return [Note(f"round {self._round.number}: {device} {how} while {member.state.value}")]

    def _on_barred(self, device: str, reason: str) -> list[Action]:
        """What it has given stays; nothing more is expected of it."""
        for known in (self._present, self._silent, self._waiting, self._owing):
            known.discard(device)
        member = self._round.members.get(device) if self._round else None
        if member is not None and not member.state.settled:
            member.move(MemberSignal.FAIL)
        return [Note(f"{device} is kept out: {reason}")]

    def _on_offer(self, offer: UpdateOffered) -> list[Action]:
        current, device = self._round, offer.device
        if current is None or not self._is_for(current, offer):
            return self._verdict_on_stale(offer)
        late = offer.round < current.number
        member = current.members.get(device)
        if member is None and not self._knows(device):
            return []
        if late and offer.round <= self._counted.get(device, 0):
            return [SendCommand(device, Accepted(offer.round, offer.epoch))]
        if member is None and late:
            member = current.admit(device)
        if member is None or current.purpose is Purpose.EVALUATE:
            return [self._reject(offer, RejectReason.NOT_SELECTED, "not a member of the round")]
        if member.state is MemberState.ACCEPTED:
            if member.origin != offer.round:
                return []  # it has given to this model already: this one is for the next
            return [SendCommand(device, Accepted(offer.round, offer.epoch))]
        if member.state.settled:
            return [self._reject(offer, RejectReason.DUPLICATE, "already settled in this round")]
        if self._state is not EngineState.COLLECTING:
            if self._policy.stale_rounds:
                return []  # it is said again when the next round is announced
            return [self._reject(offer, RejectReason.LATE, "the round is closed")]
        base = self._models.get(offer.round, "")
        if offer.base != base:
            member.move(MemberSignal.REJECT)
            detail = f"trained from {offer.base[:12]}, the round's model is {base[:12]}"
            return [self._reject(offer, RejectReason.WRONG_BASE, detail)]
        member.move(MemberSignal.OFFER)
        member.transfer, member.origin = offer.transfer, offer.round
        if device not in current.queue:
            current.queue.append(device)
        return []

    def counts_for(self, number: int, epoch: int) -> int | None:
        """The open round that an update for round `number`, said in `epoch`, would count for."""
        current = self._round
        if current is None or epoch != self._epoch:
            return None
        if number != current.number and (
            current.purpose is Purpose.EVALUATE
            or not current.number - self._policy.stale_rounds <= number < current.number
            or number not in self._models
        ):
            return None
        return current.number

    def _is_for(self, current: OpenRoundState, offer: UpdateOffered) -> bool:
        return self.counts_for(offer.round, offer.epoch) == current.number

    def _knows(self, device: str) -> bool:
        members = self._round.members if self._round else {}
        known = (self._present, self._silent, self._waiting, members)
        return any(device in names for names in known)

    def _verdict_on_stale(self, offer: UpdateOffered) -> list[Action]:
        welcome = self._completed + 1 - self._policy.stale_rounds
        if welcome <= offer.round <= self._completed + 1 and (
            offer.epoch < self._epoch or self._policy.stale_rounds
        ):
            # Made for an announcement from before a restart or a reopening. The round is open
            # again, or about to be, and the device will offer the same update for it; a verdict
            # now would throw the work away.
            return []
        if not self._knows(offer.device):
            # Whoever makes up names gets no answers either.
            return []
        newer = (offer.epoch, offer.round) > (self._epoch, self.round)
        detail = "no such round" if newer else "the round is over or was opened again"
        return [self._reject(offer, RejectReason.LATE, detail)]

    def _reject(self, offer: UpdateOffered, reason: RejectReason, detail: str) -> Action:
        return SendCommand(offer.device, Rejected(offer.round, offer.epoch, reason, detail))

    def _grant(self, now_s: float) -> list[Action]:
        """Fill the free upload places."""
        current, actions = self._round, list[Action]()
        if current is None:
            return actions
        while current.queue and (current.count(MemberState.GRANTED) < self._policy.uploads_at_once):
            device = current.queue.popleft()
            member = current.members[device]
            if member.state is not MemberState.OFFERED or member.transfer is None:
                continue
            member.move(MemberSignal.GRANT)
            member.granted_s = now_s
            actions += [
                ExpectUpload(device, member.origin, member.transfer),
                SendCommand(device, Grant(member.origin, self._epoch)),
            ]
        return actions

    def _expire_grants(self, now_s: float) -> list[Action]:
        current = self._round
        if current is None:
            return []
        late = sorted(
            device
            for device, member in current.granted.items()
            if now_s >= member.granted_s + self._policy.grant_timeout_s
        )
        for device in late:
            current.members[device].move(MemberSignal.GRANT_EXPIRED)
            current.queue.append(device)
        return [
            Note(f"round {current.number}: {device} did not upload in time; asked again")
            for device in late
        ]

    def _granted(self, device: str, number: int) -> Member | None:
        member = self._round.members.get(device) if self._round else None
        granted = member is not None and member.state is MemberState.GRANTED
        # Once the round's model is being made, nothing more can come into it.
        granted = granted and self._state is EngineState.COLLECTING
        return member if member and granted and member.origin == number else None

    def _on_stored(self, device: str, number: int) -> list[Action]:
        member = self._granted(device, number)
        if member is None:
            return []
        member.move(MemberSignal.ACCEPT)
        if self._policy.stale_rounds:
            self._counted[device] = max(number, self._counted.get(device, 0))
        return [SendCommand(device, Accepted(number, self._epoch))]

    def _on_refused(self, refused: UpdateRefused) -> list[Action]:
        member = self._granted(refused.device, refused.round)
        if member is None:
            return []
        member.move(MemberSignal.REJECT)
        verdict = Rejected(refused.round, self._epoch, refused.reason, refused.detail[:500])
        return [
            SendCommand(refused.device, verdict),
            Note(
                f"round {refused.round}: update of {refused.device} rejected, "
                f"{refused.reason.value}: {refused.detail}"
            ),
        ]

    def _unsettled_member(self, device: str, number: int, epoch: int) -> Member | None:
        current = self._round
        if (
            current is None
            or self._state is not EngineState.COLLECTING
            or (number, epoch) != (current.number, self._epoch)
        ):
            return None
        member = current.members.get(device)
        return None if member is None or member.state.settled else member

    def _on_report(self, report: EvaluationReported) -> list[Action]:
        member = self._unsettled_member(report.device, report.round, report.epoch)
        if member and self._round and self._round.purpose is Purpose.EVALUATE:
            member.move(MemberSignal.REPORT)
        return []

    def _on_failed(self, failed: DeviceFailed) -> list[Action]:
        member = self._unsettled_member(failed.device, failed.round, failed.epoch)
        if member is None:
            return []
        member.move(MemberSignal.FAIL)
        return [Note(f"round {failed.round}: {failed.device} failed: {failed.detail}")]

    def _late(self, event: Event) -> list[Action]:
        if isinstance(event, UpdateOffered) and self._knows(event.device):
            return [self._reject(event, RejectReason.LATE, "the federation is over")]
        return []
