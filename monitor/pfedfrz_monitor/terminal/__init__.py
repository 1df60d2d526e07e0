"""The monitor in a terminal, drawn with Textual."""

from __future__ import annotations

from .app import MonitorApp, run_terminal

__all__ = ["MonitorApp", "run_terminal"]
