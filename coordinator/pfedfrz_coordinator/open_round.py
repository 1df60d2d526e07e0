"""The open round and its members.

The engine looks at the round at every message, and a round may have thousands of members: how many
are in a state, and who has a grant, is kept up with every transition instead of counted again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pfedfrz_protocol import Purpose, TransferReference, next_state

from .engine_states import MEMBER_TRANSITIONS, MemberSignal, MemberState

__all__ = ["Member", "OpenRoundState"]


@dataclass
class Member:
    """One selected device."""

    state: MemberState = MemberState.PENDING
    transfer: TransferReference | None = None
    granted_s: float = 0.0
    """When it was granted, or when the last chunk came."""
    origin: int = 0
    """The round of its update; before the open one where late updates are welcome."""
    lost_noted: bool = False
    """A connection that comes and goes is told once a round."""
    on_move: Callable[[Member, MemberState], None] | None = None
    """Told of every transition, with the state before it."""

    def move(self, signal: MemberSignal) -> None:
        """Take the transition that `signal` names."""
        before = self.state
        self.state = next_state(MEMBER_TRANSITIONS, before, signal)
        if self.on_move is not None:
            self.on_move(self, before)


@dataclass
class OpenRoundState:
    """Everything about a round that ends with it."""

    number: int
    purpose: Purpose
    deadline_s: float
    members: dict[str, Member]
    enough: int = 0
    """The updates that close the round at once; 0 for those of all members."""
    queue: deque[str] = field(default_factory=deque)
    """Devices that wait for a grant, first come first served."""
    granted: dict[str, Member] = field(init=False, default_factory=dict)
    """The members that may upload, in the order of their grants."""
    _counts: Counter[MemberState] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = Counter(member.state for member in self.members.values())
        for device, member in self.members.items():
            self._watch(device, member)

    def _watch(self, device: str, member: Member) -> None:
        member.on_move = partial(self._on_move, device)
        if member.state is MemberState.GRANTED:
            self.granted[device] = member

    def admit(self, device: str) -> Member:
        """A device that was not selected, as a member."""
        member = self.members[device] = Member()
        self._counts[member.state] += 1
        self._watch(device, member)
        return member

    @property
    def has_enough(self) -> bool:
        """Whether there is nothing more to wait for, although members are still busy."""
        return 0 < self.enough <= self.count(MemberState.ACCEPTED)

    def _on_move(self, device: str, member: Member, before: MemberState) -> None:
        self._counts[before] -= 1
        self._counts[member.state] += 1
        if before is MemberState.GRANTED:
            self.granted.pop(device, None)
        if member.state is MemberState.GRANTED:
            self.granted[device] = member

    def count(self, *states: MemberState) -> int:
        """How many members are in one of these states."""
        return sum(self._counts[state] for state in states)

    @property
    def has_unsettled(self) -> bool:
        """Whether any member still owes something."""
        return any(count and not state.settled for state, count in self._counts.items())

    def unsettled(self) -> tuple[str, ...]:
        """The members that still owe something, by name."""
        return tuple(sorted(d for d, m in self.members.items() if not m.state.settled))

    def in_state(self, state: MemberState) -> tuple[str, ...]:
        """The members in one state, by name."""
        return tuple(sorted(d for d, m in self.members.items() if m.state is state))
