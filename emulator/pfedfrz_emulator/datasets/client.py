"""Running a package manager's ordinary client, briefly and quietly."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .published import SourceUnavailable

__all__ = ["run_client"]


def run_client(
    command: Sequence[str],
    directory: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command in `directory`; SourceUnavailable when it is absent, fails or takes too long.

    `environment` is added to this process's. The client's output stays out of the terminal; the
    line in which it says what went wrong is in the exception.
    """
    program = shutil.which(command[0])
    if program is None:
        raise SourceUnavailable(f"{Path(command[0]).name} is not installed")
    try:
        finished = subprocess.run(
            [program, *command[1:]],
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable(f"no answer in {timeout_s:.0f} s") from error
    except OSError as error:
        raise SourceUnavailable(f"it does not start: {error.strerror or error}") from error
    if finished.returncode != 0:
        raise SourceUnavailable(f"exit code {finished.returncode}: {_gist(finished.stderr)}")


def _gist(stderr: bytes) -> str:
    """The first line that speaks of an error, else the last: npm ends with where its log lies."""
    lines = stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    telling = (line for line in lines if line.startswith("E: ") or " error " in line)
    return next(telling, lines[-1])[:200]
