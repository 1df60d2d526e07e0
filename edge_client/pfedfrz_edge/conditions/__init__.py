"""When a device may train: one rule per file, all of them read from the system's own files."""

from __future__ import annotations

from .rule import Rule
from .settings import ConditionSettings
from .system_files import SystemFiles
from .watch import ConditionWatch, watch_conditions

__all__ = ["ConditionSettings", "ConditionWatch", "Rule", "SystemFiles", "watch_conditions"]
