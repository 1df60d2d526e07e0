"""What is kept up with every transition is what counting would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_coordinator.engine_states import MEMBER_TRANSITIONS, MemberSignal, MemberState
from pfedfrz_coordinator.open_round import Member, OpenRoundState
from pfedfrz_protocol import Purpose

NAMES = tuple("abcde")


@given(
    st.lists(st.sampled_from(list(MemberState)), min_size=5, max_size=5),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(list(MemberSignal))), max_size=40),
)
def test_counts_and_grants_are_those_of_the_members(
    first: list[MemberState], moves: list[tuple[str, MemberSignal]]
) -> None:
    members = {name: Member(state) for name, state in zip(NAMES, first, strict=True)}
    opened = OpenRoundState(1, Purpose.TRAIN, 9.0, members)
    for name, signal in moves:
        if (members[name].state, signal) in MEMBER_TRANSITIONS:
            members[name].move(signal)
        for state in MemberState:
            assert opened.count(state) == len(opened.in_state(state))
        assert opened.has_unsettled == bool(opened.unsettled())
        assert sorted(opened.granted) == list(opened.in_state(MemberState.GRANTED))
