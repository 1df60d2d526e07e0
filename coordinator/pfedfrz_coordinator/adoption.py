"""Going over to another bundle, where the coordinator runs.

The journal, the models and the accepted updates of before are moved aside whole, into
`replaced/SERIAL-DIGEST/`; registry, identity and worker folders stay. Shared weights that fit by
name and shape begin the new federation of rounds, which counts from 1 again; the epoch goes on.

What is to be done is written down first (`adoption.json`), when all that is new is on the disk.
From then on every start of a coordinator carries it out to the end, step by step, each of which
may have been done before; until then nothing has happened.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    MAX_BUNDLE_BYTES,
    SIGNATURE_BYTES,
    Bundle,
    ConfigurationError,
    Group,
    ModelLabel,
    OperationError,
    Parameters,
    Purpose,
    SharedCodec,
    TensorSpec,
    chunk_count,
    decode_json,
    write_bundle,
)
from pfedfrz_storage import make_directory, sync_directory, write_atomically

from .bundle_offering import Offered, load_offered, save_offered
from .checkpoints import Checkpoints
from .epochs import seconds_since_2020
from .journal import Journal

__all__ = ["Adoption", "adopt_bundle", "finish_adoption"]

_PLAN = "adoption.json"
_MADE = "adopting"
_MOST_SUPERSEDED = 4
"""Whose chunks are cleared again at every start: more would crowd the link's memory."""
_MOVED = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "models", "updates")


@dataclass(frozen=True)
class Adoption:
    """What became of the shared weights of before, and where the rest is."""

    serial: int
    rounds: int
    """Closed rounds of before."""
    carried: tuple[str, ...]
    """Shared weights that go on as they were."""
    fresh: tuple[str, ...]
    """Those that begin as in the new bundle."""
    left: tuple[str, ...]
    """Those of before that the new bundle has no place for."""
    unused: int
    """Accepted updates of a round that was open: they are in no model."""
    aside: Path

    @property
    def lines(self) -> list[str]:
        """All of it for people."""
        said = [
            f"adopted the bundle after {self.rounds} rounds; what was before is in {self.aside}",
            f"shared weights carried over: {len(self.carried)}",
        ]
        if self.fresh:
            said.append(f"shared weights that begin as in the bundle: {', '.join(self.fresh)}")
        if self.left:
            said.append(f"shared weights that have no place any more: {', '.join(self.left)}")
        if self.unused:
            said.append(f"{self.unused} updates of the open round are in no model")
        return said


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    aside: str
    """The folder for what was before, below the state directory."""


def adopt_bundle(state_dir: Path, bundle: Bundle) -> Adoption | None:
    """Go over to `bundle`; None when the state directory has it already, or has none yet.

    The directory must be locked. ConfigurationError for a bundle that cannot be offered,
    OperationError when the disk refuses: then nothing has happened, or `finish_adoption` goes on.
    """
    finish_adoption(state_dir)
    if not (state_dir / "journal.sqlite").exists():
        return None
    journal = Journal(state_dir / "journal.sqlite")
    try:
        known = journal.fact("bundle")
        if known is None or known == bundle.manifest.digest:
            return None
        adoption = _adopt(state_dir, bundle, journal, known)
    finally:
        journal.close()
    finish_adoption(state_dir)
    return adoption


def _adopt(state_dir: Path, bundle: Bundle, journal: Journal, known: str) -> Adoption:
    version = journal.last_closed(Purpose.TRAIN)
    before = Checkpoints(state_dir / "models").load(version)
    initial = bundle.initial_weights(Group.SHARED)
    carried = {n: w for n, w in before.items() if n in initial and w.shape == initial[n].shape}
    offered = _next_offer(journal, bundle, known, version, before)
    unused = sum(
        member.status == "accepted"
        for row in journal.open_rounds()
        for member in journal.members(row.number)
    )
    aside = f"replaced/{offered.serial:09d}-{known[:12]}"
    _make_new(state_dir / _MADE, bundle, {**initial, **carried}, journal.fact("epoch"), offered)
    make_directory(state_dir / aside)
    write_atomically(state_dir / _PLAN, msgspec.json.encode(_Plan(aside)))
    return Adoption(
        offered.serial,
        journal.last_closed(),
        tuple(carried),
        tuple(name for name in initial if name not in carried),
        tuple(name for name in before if name not in carried),
        unused,
        state_dir / aside,
    )


def _next_offer(
    journal: Journal, bundle: Bundle, known: str, version: int, model: Parameters
) -> Offered:
    last = load_offered(journal)
    archive = write_bundle(bundle.manifest, bundle.files)
    if len(archive) > MAX_BUNDLE_BYTES:
        raise ConfigurationError(
            f"the bundle has {len(archive)} bytes, at most {MAX_BUNDLE_BYTES} can be offered to "
            "devices"
        )
    bundles = {**last.bundles, **({known: last.chunks} if last.serial else {})}
    bundles.pop(bundle.manifest.digest, None)
    codec = SharedCodec(tuple(TensorSpec(name, w.shape) for name, w in model.items()))
    sealed_bytes = len(codec.encode(model, ModelLabel(version))) + SIGNATURE_BYTES
    return Offered(
        max(seconds_since_2020(int(time.time())) or 0, last.serial + 1),
        chunk_count(len(archive)),
        dict(list(bundles.items())[-_MOST_SUPERSEDED:]),
        # Version 0 is written over by the new one.
        (version, chunk_count(sealed_bytes)) if version else None,
    )


def _make_new(
    folder: Path, bundle: Bundle, shared: Parameters, epoch: str | None, offered: Offered
) -> None:
    """A journal and a first model that are complete, and nobody's yet."""
    shutil.rmtree(folder, ignore_errors=True)
    make_directory(folder)
    models = Checkpoints(folder / "models")
    models.prepare()
    models.save(0, shared, bundle.manifest.digest)
    journal = Journal(folder / "journal.sqlite")
    try:
        journal.set_fact("bundle", bundle.manifest.digest)
        if epoch is not None:
            journal.set_fact("epoch", epoch)
        save_offered(journal, offered)
    finally:
        journal.close()
    try:
        sync_directory(folder)  # SQLite sees to the file, and not to its name
    except OSError as error:
        raise OperationError(f"cannot write {folder}: {error.strerror or error}") from error


def finish_adoption(state_dir: Path) -> None:
    """Carry out what was planned, if anything was; each step may have been done already.

    OperationError when the disk refuses; then the next start goes on.
    """
    path = state_dir / _PLAN
    try:
        plan = decode_json(path.read_bytes(), _Plan)
        aside, made = state_dir / plan.aside, state_dir / _MADE
        for name in _MOVED:
            # Once it is aside, what bears the name is the new one.
            if (state_dir / name).exists() and not (aside / name).exists():
                (state_dir / name).rename(aside / name)
        sync_directory(aside)
        sync_directory(state_dir)
        for name in _MOVED:
            if (made / name).exists():
                (made / name).rename(state_dir / name)
        sync_directory(state_dir)
        path.unlink()
        shutil.rmtree(made, ignore_errors=True)
    except FileNotFoundError:
        if path.exists():
            raise
    except OSError as error:
        raise OperationError(
            f"the adoption of a bundle in {state_dir} cannot be finished: {error.strerror or error}"
        ) from error
    except msgspec.DecodeError as error:
        raise OperationError(f"{path} is damaged: {error}") from error
