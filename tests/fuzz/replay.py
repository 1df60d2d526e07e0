"""Inputs of one target, once each and without atheris: `replay.py NAME FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from targets import load_target  # noqa: E402


def main() -> None:
    """What a target raises comes through, with its traceback."""
    name, *files = sys.argv[1:]
    target = load_target(name)
    for file in files:
        target.run(Path(file).read_bytes())
        print(f"{file}: nothing found")


if __name__ == "__main__":
    main()
