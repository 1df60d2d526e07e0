"""A study as a person runs it: checked, run or gone on with, watched, reported.

Everything of it lies in one directory. The same call again goes on behind the last finished cell,
however the one before ended.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pfedfrz_coordinator.circumstances import environment
from pfedfrz_monitor.runs import StudyDescription
from pfedfrz_protocol import ConfigurationError, OperationError
from pfedfrz_storage import lock_directory

from ..live_table import say
from .cohort import StudyFolders
from .device_work import measure_work
from .executor import Executor
from .local_executor import LocalExecutor
from .progress import StudyProgress
from .reduction import reduce_study
from .report import StudyFiles, StudyResults, collect, write_study_report
from .results import CellRecord
from .specification import Study, parse_study, read_tables
from .study_run import StudyStopped, check_data, run_study
from .substitution import substitute_all, substitute_missing

__all__ = ["Engine", "StudyOutcome", "load_study", "run_session"]

_QUICK = (
    "This is the quick form of the study: few seeds, few rounds, perhaps another dataset. It shows "
    "that all works and what a report looks like; its numbers decide nothing."
)


class Engine(str, enum.Enum):
    """Where cohorts are trained."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class StudyOutcome:
    """A finished study and its report."""

    results: StudyResults
    files: StudyFiles


def load_study(path: Path, *, quick: bool, console: Console) -> Study:
    """The study in a TOML file, its quick form if that is wanted, with data that can be had.

    Everything that can be checked without data is checked first. Raises ConfigurationError.
    """
    given, where = read_tables(path), str(path)
    given.setdefault("name", path.stem)
    reduced: tuple[str, ...] = ()
    if quick:
        given = reduce_study(given, where)
        reduced = (_QUICK,)
    parse_study(substitute_all(given, where), where)
    given, notes = substitute_missing(given, where, say=lambda text: say(console, text))
    return parse_study(given, where, (*reduced, *notes))


def run_session(
    study: Study,
    out: Path,
    *,
    engine: Engine,
    workers: int | None,
    command: str,
    go_on: str,
    console: Console,
) -> StudyOutcome:
    """Run what `out` does not hold yet and write the report, which names `command`; `go_on` is what
    to type after an interruption.

    On Ctrl-C the cells that are finished stay, a line says how to go on, and KeyboardInterrupt
    goes through. Raises ConfigurationError before anything is trained, and OperationError.
    """
    folders = StudyFolders(out / "inputs")
    with lock_directory(out):
        for note in study.notes:
            say(console, f"warning: {note}", "bold yellow")
        check_data(study, folders)
        _describe(study, command).save(out)
        work = measure_work(study, folders, out / "work.json")
        with _executor(engine, folders, workers) as executor:
            records = _run(study, executor, folders, out, go_on, console)
        results = collect(study, records, work, command)
        return StudyOutcome(results, write_study_report(results, out))


def _describe(study: Study, command: str) -> StudyDescription:
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    return StudyDescription(study.name, command, len(study.cells), started_at, environment())


def _run(
    study: Study,
    executor: Executor,
    folders: StudyFolders,
    out: Path,
    go_on: str,
    console: Console,
) -> tuple[CellRecord, ...]:
    stop = threading.Event()
    with StudyProgress(study.name, console) as progress:
        try:
            found = run_study(
                study,
                executor,
                folders,
                out,
                on_progress=progress.update,
                on_cell=progress.finished,
                stop=stop,
            )
        except (KeyboardInterrupt, StudyStopped):
            stop.set()
            progress.close()
            say(console, f"stopped; what is finished is in {out}; to go on: {go_on}")
            raise KeyboardInterrupt from None
    return found.records


@contextlib.contextmanager
def _executor(engine: Engine, folders: StudyFolders, workers: int | None) -> Iterator[Executor]:
    executor = _make_executor(engine, folders, workers)
    try:
        yield executor
    finally:
        executor.close()


def _make_executor(engine: Engine, folders: StudyFolders, workers: int | None) -> Executor:
    if engine is Engine.LOCAL:
        return LocalExecutor(folders, workers)
    try:
        module = importlib.import_module("pfedfrz_emulator.study.ray_executor")
        made: Executor = module.RayExecutor(folders, os.environ.get("RAY_ADDRESS"), workers)
    except ImportError as error:
        raise ConfigurationError(
            "--engine ray needs the package ray, which is not installed; pip install 'pfedfrz[ray]'"
        ) from error
    except RuntimeError as error:
        raise OperationError(
            f"--engine ray: {error}; is it installed? pip install 'pfedfrz[ray]'"
        ) from error
    return made
