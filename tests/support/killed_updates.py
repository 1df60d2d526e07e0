"""Changes of a bundle, killed with SIGKILL before every step that the disk sees.

    python killed_updates.py device|coordinator FOLDER

A process of its own, without threads: each kill is that of a forked child. Prints how many there
were. What is left is looked at by code that knows nothing of the kill.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import make_bundle

from pfedfrz_coordinator.adoption import adopt_bundle, finish_adoption
from pfedfrz_coordinator.bundle_offering import load_offered
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.state import CoordinatorState
from pfedfrz_edge.bundle_homes import BundleHomes
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_protocol import (
    BundleOffer,
    Group,
    ModelReference,
    Purpose,
    RoundAnnouncement,
    TransferReference,
    describe_transfer,
    tensors_digest,
    write_bundle,
)

FIRST = make_bundle()
SECOND = make_bundle(
    1,
    personal={"front.weight": (4, 6), "new": (2,)},
    shared={"head.weight": (3, 4), "front.bias": (4,)},
)
_STEPS = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")


def _kill_at(step: int) -> None:
    """Arm this process."""
    left = step

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*values, **named)

        return call

    for name in _STEPS:
        setattr(os, name, patched(getattr(os, name)))


def killed_everywhere(
    start: Path, act: Callable[[Path], object], check: Callable[[Path, bool], None]
) -> int:
    """Kill `act` before each of its steps, on a copy of `start`; how many steps it has.

    `check` takes the folder, and whether `act` came to its end.
    """
    for step in range(1000):
        folder = start.with_name(f"killed-{step}")
        shutil.copytree(start, folder)
        child = os.fork()
        if child == 0:
            _kill_at(step)
            act(folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        check(folder, status == 0)
        shutil.rmtree(folder)
        if status == 0:
            return step
    raise AssertionError("it never came to its end")


# A device


def _own(folder: Path, bundle: Any, value: float) -> None:
    weights = {n: np.full_like(w, value) for n, w in bundle.initial_personal().items()}
    PersonalStore(folder, bundle.manifest.digest).save(StoredPersonal(weights, 3, 1))


ARCHIVE = write_bundle(SECOND.manifest, SECOND.files)
OFFER = BundleOffer(5, SECOND.manifest.digest, describe_transfer(ARCHIVE))


def _device(folder: Path) -> int:
    start = folder / "device"
    start.mkdir()
    _own(start, FIRST, 7.0)
    (start / "pending-update.msgpack").write_bytes(b"waits")

    def act(state_dir: Path) -> None:
        homes = BundleHomes(state_dir, FIRST)
        homes.folder.mkdir(exist_ok=True)
        homes.offered.write_bytes(ARCHIVE)
        homes.install(OFFER)

    def check(state_dir: Path, is_done: bool) -> None:
        homes = BundleHomes(state_dir, FIRST)
        homes.follow_the_person()
        homes.begin()
        assert homes.active == (SECOND if is_done else homes.read()).manifest.digest
        stored = PersonalStore(homes.home, homes.active).load()
        assert stored is not None
        assert np.unique(stored.weights["front.weight"]).tolist() == [7.0]
        before = PersonalStore(state_dir, FIRST.manifest.digest).load()
        assert before is not None
        assert all(np.unique(w).tolist() == [7.0] for w in before.weights.values())
        assert (state_dir / "pending-update.msgpack").read_bytes() == b"waits"
        assert not list(state_dir.glob("*.partial-*")) or not is_done
        act(state_dir)  # the offer comes again
        assert BundleHomes(state_dir, FIRST).active == SECOND.manifest.digest

    return killed_everywhere(start, act, check)


# A coordinator


def _coordinator(folder: Path) -> int:
    start = folder / "coordinator"
    state = CoordinatorState(start, FIRST)
    state.recover()
    model = {n: np.full_like(w, 7) for n, w in FIRST.initial_weights(Group.SHARED).items()}
    for number in (1, 2):
        reference = ModelReference(
            number - 1, tensors_digest(model), TransferReference(1, "a" * 64)
        )
        state.open_round(
            RoundAnnouncement(
                number, 100 + number, FIRST.manifest.digest, Purpose.TRAIN, reference, ("a",), 9.0
            )
        )
        if number == 1:
            state._checkpoints.save(1, model, FIRST.manifest.digest)
            state.close_round(1)
    state.journal.close()
    shutil.copytree(start, folder / "before")

    def act(state_dir: Path) -> None:
        adopt_bundle(state_dir, SECOND)

    def check(state_dir: Path, is_done: bool) -> None:
        finish_adoption(state_dir)
        journal = Journal(state_dir / "journal.sqlite")
        digest, epoch = journal.fact("bundle"), journal.fact("epoch")
        serial = load_offered(journal).serial
        journal.close()
        has_adopted = digest == SECOND.manifest.digest
        assert has_adopted or not is_done
        assert epoch == "102"
        bundle = SECOND if has_adopted else FIRST
        recovered = CoordinatorState(state_dir, bundle).recover()
        assert recovered.completed == (0 if has_adopted else 1)
        assert np.unique(recovered.shared["head.weight"]).tolist() == [7.0]
        if has_adopted:
            assert serial > 0
            (aside,) = (state_dir / "replaced").iterdir()
            old = CoordinatorState(aside, FIRST).recover()
            assert old.completed == 1
            assert np.unique(old.shared["head.bias"]).tolist() == [7.0]
            assert not (state_dir / "adoption.json").exists()
        act(state_dir)
        CoordinatorState(state_dir, SECOND).recover()

    return killed_everywhere(start, act, check)


if __name__ == "__main__":
    scenes = {"device": _device, "coordinator": _coordinator}
    print(scenes[sys.argv[1]](Path(sys.argv[2])))
