"""A member of a fleet with a witness in it, and maybe an instant at which it is to die.

    python -m chaos.member WITNESS "POINT" NTH PARENT_PID coordinator|device CONFIG

Everything after NTH is what pfedfrz_emulator.member_process takes. The witness writes down what a
device has saved and loaded, and every update that it kept, before the update can be sent.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

import pfedfrz_protocol.chunks

from .points import arm

CHUNK_BYTES = 1024
"""So that also a tiny model travels in many pieces."""


def _watch_device(witness: Path, device: str) -> None:
    from pfedfrz_edge.outbox import Outbox
    from pfedfrz_edge.personal_store import PersonalStore

    log = witness / f"{device}.personal"

    def note(what: str, round_number: int, phase: int) -> None:
        with log.open("a") as file:
            file.write(f"{what} {round_number} {phase}\n")

    real_save, real_load, real_put = PersonalStore.save, PersonalStore.load, Outbox.put

    def save(self: Any, stored: Any) -> None:
        note("saving", stored.round, stored.phase)
        real_save(self, stored)
        note("saved", stored.round, stored.phase)

    def load(self: Any) -> Any:
        stored = real_load(self)
        note("loaded", *((stored.round, stored.phase) if stored else (0, 0)))
        return stored

    def put(self: Any, update: Any) -> None:
        name = f"{update.round}.{device}.{os.getpid()}.{time.monotonic_ns()}"
        partial = witness / "updates" / f".{name}"
        partial.write_bytes(msgspec.msgpack.encode(update))
        partial.rename(witness / "updates" / name)
        real_put(self, update)

    PersonalStore.save, PersonalStore.load = save, load  # type: ignore[method-assign]
    Outbox.put = put  # type: ignore[method-assign]


def main(arguments: list[str]) -> int:
    """Run the member."""
    pfedfrz_protocol.CHUNK_BYTES = pfedfrz_protocol.chunks.CHUNK_BYTES = CHUNK_BYTES
    from pfedfrz_emulator import member_process

    witness, point, nth, *rest = arguments
    _, role, configuration = rest
    if role == "device":
        _watch_device(Path(witness), Path(configuration).stem)
    if point:
        arm(point, int(nth), Path(witness) / "deaths")
    return member_process.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
