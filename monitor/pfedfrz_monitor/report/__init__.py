"""What came of a run: summary.json, rounds.csv, devices.csv, PNG plots and report.html."""

from __future__ import annotations

from .page import encode_page
from .records import Closing, DeviceRecord, Moment, RoundRecord, RunRecord, RunSettings
from .spread import FinalAccuracy, Spread, final_accuracy, round_spreads, spread_of
from .summary import Summary, encode_summary, summarize
from .tables import encode_devices, encode_rounds
from .write import ReportFiles, write_report

__all__ = [
    "Closing",
    "DeviceRecord",
    "FinalAccuracy",
    "Moment",
    "ReportFiles",
    "RoundRecord",
    "RunRecord",
    "RunSettings",
    "Spread",
    "Summary",
    "encode_devices",
    "encode_page",
    "encode_rounds",
    "encode_summary",
    "final_accuracy",
    "round_spreads",
    "spread_of",
    "summarize",
    "write_report",
]
