"""Writes every target's seeds into the committed corpus, beside what fuzzing has added to it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from targets import load_target, target_names  # noqa: E402

CORPUS = HERE / "corpus"


def main() -> None:
    """All targets, or those that are named."""
    for name in sys.argv[1:] or target_names():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in load_target(name).seeds.items():
            (folder / seed).write_bytes(data)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: {len(list(folder.iterdir()))} files, {size} bytes")


if __name__ == "__main__":
    main()
