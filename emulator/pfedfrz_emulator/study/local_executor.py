"""Cohorts in processes of this machine, one for each core, each on one thread."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pfedfrz_coordinator.cores import available_cores
from pfedfrz_protocol import OperationError

from .cohort import CohortResult, CohortRows, CohortTask, StudyFolders, train_cohort
from .shared_rows import MemoryPool, are_rows_shareable, open_rows
from .worker_lifetime import live_for_parent
from .worker_process import settle_worker

__all__ = ["LocalExecutor"]

_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class _SharedRows:
    """A cohort's weights in memory that a worker has too."""

    path: str
    starts: tuple[int, int]
    """Where in it the shared rows begin, and the personal ones."""
    shared: NDArray[np.float32]
    personal: NDArray[np.float32]

    def with_weights(self, result: CohortResult) -> CohortResult:
        return replace(result, shared=self.shared, personal=self.personal)


class LocalExecutor:
    """A pool of processes that is made anew when one of them dies."""

    def __init__(self, folders: StudyFolders, workers: int | None = None) -> None:
        self._folders = folders
        self.workers = workers or available_cores()
        self._lock = threading.Lock()
        self._pool = self._make_pool()
        self._memories = MemoryPool() if are_rows_shareable() else None

    def train(self, tasks: Sequence[CohortTask]) -> list[CohortResult]:
        """See Executor."""
        rows = self._lay_out(tasks) if self._memories else [None] * len(tasks)
        results: dict[int, CohortResult] = {}
        for _ in range(_ATTEMPTS):
            pool = self._pool
            futures: dict[int, Future[CohortResult]] = {}
            try:
                for place, (task, own) in enumerate(zip(tasks, rows, strict=True)):
                    if place not in results:
                        futures[place] = self._submit(pool, task, own)
            except (BrokenProcessPool, RuntimeError):
                pass  # somebody else's cohort took the pool with it; what was submitted fails too
            concurrent.futures.wait(futures.values())
            for place, future in futures.items():
                # One death fails every cohort that was waiting; they are not to blame.
                if not isinstance(future.exception(), BrokenProcessPool):
                    own = rows[place]
                    results[place] = own.with_weights(future.result()) if own else future.result()
            if len(results) == len(tasks):
                return [results[place] for place in range(len(tasks))]
            self._replace(pool)
        raise OperationError(
            f"a worker process died {_ATTEMPTS} times in a row, probably for want of memory; "
            "use fewer workers (--workers 1) or smaller devices"
        )

    def close(self) -> None:
        """See Executor."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._memories:
            self._memories.close()

    def _lay_out(self, tasks: Sequence[CohortTask]) -> list[_SharedRows | None]:
        """Room for the weights of all tasks in one memory, first the shared, then the personal.

        So the rows of all tasks together are again rows, and nobody has to join them by copying.
        """
        assert self._memories is not None
        clients = [len(task.places) for task in tasks]
        shared, personal = len(tasks[0].shared), tasks[0].personal.shape[1]
        memory, numbers = self._memories.lease(sum(clients) * (shared + personal))
        rows: list[_SharedRows | None] = []
        start, other = 0, sum(clients) * shared
        for count in clients:
            end, other_end = start + count * shared, other + count * personal
            rows.append(
                _SharedRows(
                    memory.path,
                    (start, other),
                    numbers[start:end].reshape(count, shared),
                    numbers[other:other_end].reshape(count, personal),
                )
            )
            start, other = end, other_end
        return rows

    def _submit(
        self, pool: ProcessPoolExecutor, task: CohortTask, rows: _SharedRows | None
    ) -> Future[CohortResult]:
        if rows is None:
            return pool.submit(train_cohort, task, self._folders)
        # Each time: a worker that died may have left the weights half trained.
        rows.personal[:] = task.personal
        sizes = (rows.shared.shape[1], rows.personal.shape[1])
        moved = replace(task, personal=task.personal[:0])
        return pool.submit(_train_in_place, moved, self._folders, rows.path, rows.starts, sizes)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                # Waited for: a worker that still runs would write into what is trained again.
                broken.shutdown(wait=True, cancel_futures=True)
                self._pool = self._make_pool()

    def _make_pool(self) -> ProcessPoolExecutor:
        # Spawned: a forked child of a process with threads (torch has them) may hang.
        return ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("spawn"), initializer=_begin_worker
        )


def _begin_worker() -> None:
    live_for_parent()
    settle_worker()


def _train_in_place(
    task: CohortTask,
    folders: StudyFolders,
    path: str,
    starts: tuple[int, int],
    sizes: tuple[int, int],
) -> CohortResult:
    """What a cohort has trained, but for its weights: these stay in the memory at `path`."""
    clients = len(task.places)
    shared, personal = (
        open_rows(path, start, clients, size) for start, size in zip(starts, sizes, strict=True)
    )
    result = train_cohort(task, folders, CohortRows(shared, personal))
    nothing = np.zeros((0, 0), np.float32)
    return replace(result, shared=nothing, personal=nothing)
