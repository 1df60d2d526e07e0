"""Cohorts as tasks on a Ray cluster, for studies that one machine is not enough for.

A cohort is a pure function of its task, so Ray may run it anywhere, and once more when a worker or
its machine dies. Machines of the cluster need this package with its `ray` extra, and make the
mapped inputs for themselves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from pfedfrz_coordinator.cores import available_cores
from pfedfrz_protocol import ConfigurationError, OperationError

from .cohort import CohortResult, CohortTask, StudyFolders, train_cohort
from .worker_process import settle_worker

__all__ = ["RayExecutor"]

_RETRIES = 3
_REACH_S = 5.0


class RayExecutor:
    """Trains on the cluster at `address`, or on one of its own on this machine.

    Only one at a time in a process: Ray is joined once for all of it.
    """

    def __init__(
        self, folders: StudyFolders, address: str | None = None, workers: int | None = None
    ) -> None:
        """`workers` is how many a cluster of our own has; one with an address has its own count.

        Raises ConfigurationError where Ray is not installed or the cluster cannot be joined.
        """
        self._ray = _import_ray()
        self._folders = folders
        self._join(address, workers or available_cores())
        self._train = self._ray.remote(num_cpus=1, max_retries=_RETRIES)(_train_in_worker)

    @property
    def workers(self) -> int:
        """See Executor; what the cluster has now."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def train(self, tasks: Sequence[CohortTask]) -> list[CohortResult]:
        """See Executor."""
        pending = [self._train.remote(task, self._folders) for task in tasks]
        try:
            results: list[CohortResult] = self._ray.get(pending)
        except self._ray.exceptions.RayTaskError as error:
            self._drop(pending)
            # Ray's own error carries a traceback as its text; the cohort's says what is wrong.
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            self._drop(pending)
            reason = str(error).strip().partition("\n")[0]
            raise OperationError(
                f"a cohort was lost on the Ray cluster {_RETRIES + 1} times: {reason}"
            ) from error
        return results

    def close(self) -> None:
        """See Executor; a cluster of our own ends too."""
        self._ray.shutdown()

    def _join(self, address: str | None, workers: int) -> None:
        if self._ray.is_initialized():
            raise ConfigurationError(
                "this process has joined a Ray cluster already; close that executor first"
            )
        _check_reachable(address)
        own = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            self._ray.init(
                address=address or "local", log_to_driver=False, configure_logging=False, **own
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            self._ray.shutdown()
            reason = str(error).strip().partition("\n")[0]
            raise _no_cluster(address, reason) from error

    def _drop(self, pending: Sequence[Any]) -> None:
        for reference in pending:
            self._ray.cancel(reference)


def _train_in_worker(task: CohortTask, folders: StudyFolders) -> CohortResult:
    settle_worker()
    return train_cohort(task, folders)


def _check_reachable(address: str | None) -> None:
    """ConfigurationError when nobody listens there: Ray would try for minutes, then exit."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # none, or a name such as `auto` that Ray resolves by itself
    try:
        socket.create_connection((host, int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str | None, reason: str) -> ConfigurationError:
    where = f"at {address}" if address else "on this machine"
    return ConfigurationError(
        f"no Ray cluster {where}: {reason}; start one with `ray start --head`, "
        "or leave the address out"
    )


def _import_ray() -> Any:
    # Read when Ray is imported: nothing is reported to its makers from here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigurationError(
            "Ray is not installed; pip install 'pfedfrz[ray]', or use the local engine"
        ) from error
    return ray
