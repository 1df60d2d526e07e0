"""docs/state-machines.md is what the tables in the code say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_diagrams_are_drawn_from_the_tables() -> None:
    script = ROOT / "scripts" / "draw_state_machines.py"
    done = subprocess.run(
        [sys.executable, str(script), "--print"], capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "docs" / "state-machines.md").read_text()
