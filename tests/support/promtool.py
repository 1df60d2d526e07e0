"""Prometheus' own checks, where Debian's package is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str, given: str = "", cwd: Path | None = None) -> str:
    """What promtool says; the test fails if it finds a fault, and is skipped without it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        [program, *arguments],
        input=given,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
