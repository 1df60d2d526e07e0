"""The runs below a directory: emulated ones, studies, and coordinators with what they replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pfedfrz_protocol import PfedfrzError
from pfedfrz_storage import is_locked

from ..report.records import Moment, RunState
from ..report.spread import final_accuracy
from .place import find_place
from .reading import read_record
from .study import CELLS_FILE, StudyDescription, read_cells

__all__ = ["Catalogue", "RunEntry", "find_runs"]

_DEEPEST = 5
_MOST_DIRECTORIES = 20_000
_JOURNAL = "journal.sqlite"
_REPLACED = "replaced"
_STATE = "coordinator"


@dataclass(frozen=True)
class RunEntry:
    """One run in a line; None where nobody knows."""

    path: str
    kind: str
    """emulated, federation, replaced (by the adoption of another bundle) or study."""
    name: str
    state: RunState
    began_at: float | None = None
    """Unix seconds."""
    method: str | None = None
    dataset: str | None = None
    devices: int | None = None
    attackers: int | None = None
    completed: int = 0
    """Rounds of training; of a study, cells."""
    wanted: int | None = None
    received: float | None = None
    """Mean accuracy at the end, over the devices that are not known to attack."""
    local: float | None = None
    bytes: int | None = None
    """Up and down."""
    wall_s: float | None = None


@dataclass(frozen=True)
class Catalogue:
    """What was found, oldest first, and what could not be read, in a line each."""

    runs: tuple[RunEntry, ...] = ()
    faults: tuple[str, ...] = field(default=())


def find_runs(roots: Sequence[Path]) -> Catalogue:
    """The runs in and below `roots`; a directory that is damaged or foreign stops nothing."""
    entries, faults = dict[Path, RunEntry](), list[str]()
    for root in roots:
        for path, kind in _places(root, faults):
            if path.resolve() in entries:
                continue
            try:
                entry = _study(path) if kind == "study" else _federation(path, kind)
            except (PfedfrzError, OSError) as error:
                faults.append(str(error))
            else:
                entries[path.resolve()] = entry
    ordered = sorted(entries.values(), key=lambda entry: (entry.began_at or 0.0, entry.path))
    return Catalogue(tuple(ordered), tuple(faults))


def _places(root: Path, faults: list[str]) -> Iterator[tuple[Path, str]]:
    """Directories that look like runs, with their kind."""

    def cannot(error: OSError) -> None:
        faults.append(f"{error.filename}: cannot be read: {error.strerror}")

    for looked, (folder, folders, files) in enumerate(os.walk(root, onerror=cannot), 1):
        path = Path(folder)
        if looked > _MOST_DIRECTORIES:
            faults.append(f"{root}: more than {_MOST_DIRECTORIES} directories: name one below it")
            return
        kind = None
        if CELLS_FILE in files:
            kind = "study"
        elif _JOURNAL in files:
            kind = "federation"
        elif _STATE in folders and (path / _STATE / _JOURNAL).is_file():
            kind = "emulated"
        if kind is not None:
            yield path, kind
            if kind != "study":
                state_dir = path if kind == "federation" else path / _STATE
                for replaced in sorted(state_dir.glob(f"{_REPLACED}/*/{_JOURNAL}")):
                    yield replaced.parent, "replaced"
            folders.clear()
        elif len(path.relative_to(root).parts) >= _DEEPEST:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _federation(path: Path, kind: str) -> RunEntry:
    place = find_place(path)
    record = read_record(place)
    if kind == "emulated" and not place.is_emulated:
        kind = "federation"
    state = record.state
    if kind == "replaced":
        state = RunState.FINISHED  # nobody can go on with it
    settings = record.settings
    received, local = (final_accuracy(record, moment).spread for moment in Moment)
    began = [row.opened_at for row in record.rounds if row.opened_at is not None]
    return RunEntry(
        str(path),
        kind,
        settings.federation if kind != "emulated" and settings.federation else place.name,
        state,
        min(began, default=place.journal.stat().st_mtime),
        settings.method,
        settings.dataset,
        settings.devices,
        settings.attackers,
        len(record.rounds),
        settings.rounds,
        received.mean if received else None,
        local.mean if local else None,
        record.uplink_bytes + record.downlink_bytes,
        record.wall_s,
    )


def _study(path: Path) -> RunEntry:
    description, cells = StudyDescription.load(path), list(read_cells(path))

    def common(name: str) -> object:
        found = {str(cell.experiment.get(name)) for cell in cells}
        values = [cell.experiment.get(name) for cell in cells]
        return values[0] if len(found) == 1 else None

    methods = list(dict.fromkeys(str(cell.experiment.get("method")) for cell in cells))
    devices, attackers, dataset = common("devices"), common("attackers"), common("dataset")
    wanted = description.cells if description else None
    if wanted is not None:
        state = RunState.FINISHED if len(cells) >= wanted else RunState.INTERRUPTED
    else:
        done = (path / "report.html").is_file()
        state = RunState.FINISHED if done else RunState.INTERRUPTED
    if state is not RunState.FINISHED and is_locked(path):
        state = RunState.RUNNING
    return RunEntry(
        str(path),
        "study",
        description.name if description else path.resolve().name,
        state,
        (description.began if description else None) or (path / CELLS_FILE).stat().st_mtime,
        f"{len(methods)} methods" if len(methods) > 1 else (methods[0] if methods else None),
        dataset if isinstance(dataset, str) else None,
        devices if isinstance(devices, int) else None,
        attackers if isinstance(attackers, int) else None,
        len(cells),
        wanted,
        wall_s=sum(cell.wall_s for cell in cells),
    )
