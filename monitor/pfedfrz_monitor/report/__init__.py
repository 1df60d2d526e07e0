"""What came of a run: summary.json, rounds.csv, devices.csv, PNG plots and report.html."""

from __future__ import annotations

from .describe import describe_record
from .page import encode_page
from .records import (
    Closing,
    DeviceRecord,
    Moment,
    Part,
    Refusal,
    RoundRecord,
    RunRecord,
    RunSettings,
    RunState,
)
from .spread import FinalAccuracy, Spread, final_accuracy, round_spreads, spread_of
from .summary import Summary, encode_summary, summarize
from .tables import encode_devices, encode_rounds
from .write import ReportFiles, write_report

__all__ = [
    "Closing",
    "DeviceRecord",
    "FinalAccuracy",
    "Moment",
    "Part",
    "Refusal",
    "ReportFiles",
    "RoundRecord",
    "RunRecord",
    "RunSettings",
    "RunState",
    "Spread",
    "Summary",
    "describe_record",
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
