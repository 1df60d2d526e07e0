"""A coordinator's machine has neither torch nor matplotlib, and makes reports all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from written_journals import WrittenRun

_PROGRAM = """
import sys
for name in ("torch", "onnx", "matplotlib", "scipy", "sklearn", "rich", "textual", "pyarrow",
             "tensorboardX", "pfedfrz_emulator", "pfedfrz_export", "pfedfrz_models"):
    sys.modules[name] = None

from pfedfrz.command import run
from pfedfrz_monitor.replay import open_replay
from pathlib import Path

state = sys.argv[1]
for arguments in (["report", state, "--out", "r.html"], ["runs", "list", "."],
                  ["runs", "diff", state, state],
                  ["runs", "export", state, "--to", "csv", "--out", "tables"]):
    assert run(arguments) == 0, arguments
assert run(["runs", "export", state, "--to", "parquet", "--out", "tables"]) == 2
watch = open_replay(Path(state))
watch.seek(watch.length_s)
watch.play_due()
assert watch.is_over
"""


def test_report_runs_and_replay_need_what_a_coordinator_has(tmp_path: Path) -> None:
    state = WrittenRun(tmp_path / "state").write()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(state)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'pfedfrz[parquet]'" in done.stderr
    assert (tmp_path / "r.html").stat().st_size > 10_000
