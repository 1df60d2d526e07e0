"""Watching a federation: what its topics show, in a terminal, on a page, and afterwards."""

from __future__ import annotations

from .device_view import DeviceView, Stage, Standing
from .log_book import Entry, Kind, LogBook
from .round_view import Cell, Outcome, RoundView
from .view import NO_FAULT, FederationView

__all__ = [
    "NO_FAULT",
    "Cell",
    "DeviceView",
    "Entry",
    "FederationView",
    "Kind",
    "LogBook",
    "Outcome",
    "RoundView",
    "Stage",
    "Standing",
]
