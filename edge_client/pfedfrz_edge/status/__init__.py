"""What a device tells the person who owns it, beside what it tells its coordinator."""

from __future__ import annotations

from .overview import Overview, look_at_device
from .round_history import RoundHistory, RoundRecord
from .running_status import RunningStatus
from .status_writer import StatusWriter

__all__ = [
    "Overview",
    "RoundHistory",
    "RoundRecord",
    "RunningStatus",
    "StatusWriter",
    "look_at_device",
]
