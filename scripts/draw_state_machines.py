"""Draws docs/state-machines.md from the transition tables, so that it cannot say anything else.

python scripts/draw_state_machines.py          writes the file
python scripts/draw_state_machines.py --print  prints what it would be
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from pfedfrz_coordinator.engine_states import (
    ENGINE_TRANSITIONS,
    MEMBER_TRANSITIONS,
    EngineState,
    MemberState,
)
from pfedfrz_edge.session_states import TRANSITIONS, SessionState

TARGET = Path(__file__).parents[1] / "docs" / "state-machines.md"


def diagram(transitions: Mapping[tuple[Enum, Enum], Enum], first: Enum) -> str:
    """A Mermaid state diagram of one table; signals between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (source, signal), target in transitions.items():
        arrows.setdefault((source.name, target.name), []).append(str(signal.value))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [
        f"    {source} --> {target}: {', '.join(signals)}"
        for (source, target), signals in arrows.items()
    ]
    return "\n".join([*lines, "```"])


def page() -> str:
    """The whole page."""
    return f"""# State machines

Made by `python scripts/draw_state_machines.py` from the tables in the code; a test compares.

## The round engine of the coordinator

{diagram(ENGINE_TRANSITIONS, EngineState.WAITING)}

## One selected device in an open round

{diagram(MEMBER_TRANSITIONS, MemberState.PENDING)}

## The session of a device

{diagram(TRANSITIONS, SessionState.IDLE)}
"""


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(page(), end="")
    else:
        TARGET.write_text(page())
