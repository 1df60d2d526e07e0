"""The last rounds of a device in numbers, for the person who asks how it has been going."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from pfedfrz_protocol import LocalReport, OperationError, Purpose, decode_json
from pfedfrz_storage import write_atomically

__all__ = ["RoundHistory", "RoundRecord"]

log = logging.getLogger(__name__)
_FILE = "rounds.json"
_MOST = 50


class RoundRecord(msgspec.Struct, frozen=True):
    """What a device did in one round."""

    round: int
    purpose: Purpose
    ended_at: float
    """Unix seconds of the device's clock."""
    report: LocalReport | None = None
    fault: str = ""
    """Why there is no report."""


class RoundHistory:
    """The newest records of one state directory, oldest first."""

    def __init__(self, state_dir: Path) -> None:
        """Read what is there; a file that cannot be read is said, and a new one begun."""
        self._path = state_dir / _FILE
        self.records: tuple[RoundRecord, ...] = ()
        try:
            self.records = decode_json(self._path.read_bytes(), tuple[RoundRecord, ...])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read, the rounds of before are not shown: %s",
                        self._path, error)  # fmt: skip

    def add(self, record: RoundRecord) -> None:
        """Keep one more; said, and not raised, where the disk refuses: it is for people only."""
        self.records = (*self.records, record)[-_MOST:]
        try:
            write_atomically(self._path, msgspec.json.encode(self.records), mode=0o600)
        except OperationError as error:
            log.warning("%s", error)
