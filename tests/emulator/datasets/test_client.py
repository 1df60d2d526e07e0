from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pfedfrz_emulator.datasets.client import run_client
from pfedfrz_emulator.datasets.published import SourceUnavailable


def test_a_command_runs_in_the_folder_with_the_environment(tmp_path: Path) -> None:
    script = "import os, pathlib; pathlib.Path('made').write_text(os.environ['SAID'])"
    run_client((sys.executable, "-c", script), tmp_path, 30, {"SAID": "so"})
    assert (tmp_path / "made").read_text() == "so"


def test_an_absent_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no-such-client is not installed"):
        run_client(("no-such-client",), tmp_path, 1)


@pytest.mark.parametrize(
    ("said", "gist"),
    [
        (r"first\nlast", "last"),
        (r"notice\nnpm error code ENOTFOUND\nnpm error A log is in X", "npm error code ENOTFOUND"),
        (r"W: slow\nE: Unable to locate package\nbye", "E: Unable to locate package"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_gives_the_line_that_tells_most(tmp_path: Path, said: str, gist: str) -> None:
    script = f"import sys; print('{said}', file=sys.stderr); sys.exit(7)"
    with pytest.raises(SourceUnavailable, match=f"^exit code 7: {gist}$"):
        run_client((sys.executable, "-c", script), tmp_path, 30)


def test_a_client_that_hangs_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="no answer in"):
        run_client((sys.executable, "-c", "import time; time.sleep(60)"), tmp_path, 0.3)
    assert time.monotonic() - began < 20
