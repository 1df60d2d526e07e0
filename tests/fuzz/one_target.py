"""One target under atheris, in a process of its own: `one_target.py NAME [libFuzzer options]`."""

from __future__ import annotations

import logging
import random
import sys
import warnings

import atheris

OURS = [
    "pfedfrz_protocol",
    "pfedfrz_storage",
    "pfedfrz_transport",
    "pfedfrz_edge",
    "pfedfrz_coordinator",
    "pfedfrz_emulator",
]


def main() -> None:
    """Run until libFuzzer has had enough."""
    name, *options = sys.argv[1:]
    logging.disable(logging.CRITICAL)  # what is logged of a million bad inputs tells nobody much
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=OURS):
        from targets import load_target

        target = load_target(name)
    mutate = target.mutate
    if mutate is None:
        atheris.Setup([sys.argv[0], *options], target.run)
    else:
        known = mutate

        def custom(data: bytes, limit: int, seed: int) -> bytes:
            # Now and then as bytes: what a mutator knows nothing of would never come.
            if random.Random(seed).random() < 0.2:
                return atheris.Mutate(data, limit)
            changed = known(data, limit, seed)
            return atheris.Mutate(data, limit) if changed is None else changed

        atheris.Setup([sys.argv[0], *options], target.run, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
