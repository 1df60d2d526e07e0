"""Writes the status of a running device, seldom enough for a card."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from pfedfrz_protocol import LocalReport, OperationError, Purpose

from ..configuration import DeviceSettings
from ..session import DeviceSession
from ..session_exchange import EvaluationDone, UpdateTrained, WorkBroken
from .process_mark import mark_of_this_process
from .round_history import RoundHistory, RoundRecord
from .running_status import RunningStatus, status_path, write_status

__all__ = ["StatusWriter"]

log = logging.getLogger(__name__)
_IN_MEMORY_S = 2.0
"""The least time between two writes below systemd's RuntimeDirectory."""


class StatusWriter:
    """The status file and the history of one device.

    It writes only what has changed: on a card never more often than the device's heartbeat, in
    memory every two seconds at most. A device where nothing happens writes nothing.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        bundle_digest: str,
        boot_id: str,
        samples: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Find the place and read the history; the state directory must be there."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._path = status_path(settings.state_dir, f"{settings.federation}.{settings.device}")
        in_memory = self._path.parent != settings.state_dir
        self._least_s = _IN_MEMORY_S if in_memory else settings.heartbeat_s
        self._history = RoundHistory(settings.state_dir)
        now = wall_clock()
        self._status = RunningStatus(
            mark_of_this_process(), boot_id, now, now, False, now, "", "", 0, None,
            bundle_digest, settings.runtime, samples, "", {},
        )  # fmt: skip
        self._written: RunningStatus | None = None
        self._written_s = -float("inf")
        self._has_failed = False

    def connected(self) -> None:
        """The broker took the connection."""
        self._connection(True, "")

    def disconnected(self, fault: str) -> None:
        """The connection is lost."""
        self._connection(False, fault)

    def _connection(self, connected: bool, fault: str) -> None:
        self._status = msgspec.structs.replace(
            self._status,
            connected=connected,
            connected_since=self._wall_clock(),
            connection_fault=fault,
        )

    def worked(self, done: UpdateTrained | EvaluationDone | WorkBroken) -> None:
        """A round's work has ended: add it to the history."""
        report: LocalReport | None = None
        purpose, fault = Purpose.TRAIN, ""
        match done:
            case UpdateTrained(_, update):
                report = update.report
            case EvaluationDone(_, measured):
                report, purpose = measured, Purpose.EVALUATE
            case WorkBroken(_, detail):
                fault = detail
        self._history.add(RoundRecord(done.key.round, purpose, self._wall_clock(), report, fault))

    def show(
        self,
        session: DeviceSession,
        coordinator_key: str | None,
        samples: int,
        waiting_for: str,
        conditions: dict[str, str],
    ) -> None:
        """Take what is true now, and write it if it is news and it is time."""
        self._status = msgspec.structs.replace(
            self._status,
            state=session.state.value,
            round=session.round,
            coordinator_key=coordinator_key,
            samples=samples,
            waiting_for=waiting_for,
            conditions=conditions,
        )
        if self._is_news() and self._clock() >= self._written_s + self._least_s:
            self._write()

    def end(self) -> None:
        """The device ends as it was told to."""
        now = self._wall_clock()
        self._status = msgspec.structs.replace(
            self._status, ended_at=now, connected=False, connected_since=now
        )
        self._write()

    def _is_news(self) -> bool:
        """What rules have read differs every time: it goes along, and is no reason to write."""
        before = self._written
        return before is None or before != msgspec.structs.replace(
            self._status, written_at=before.written_at, conditions=before.conditions
        )

    def _write(self) -> None:
        self._status = msgspec.structs.replace(self._status, written_at=self._wall_clock())
        self._written, self._written_s = self._status, self._clock()
        try:
            write_status(self._path, self._status)
        except OperationError as error:
            if not self._has_failed:
                log.warning("the status of this device cannot be shown: %s", error)
            self._has_failed = True
