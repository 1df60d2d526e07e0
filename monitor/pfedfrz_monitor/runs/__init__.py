"""Runs that are on the disk: where they are, what came of them, how they differ."""

from __future__ import annotations

from .catalogue import Catalogue, RunEntry, find_runs
from .comparison import ComparedRun, Comparison, compare
from .description import DESCRIPTION_FILE, DescribedDevice, RunDescription
from .differences import Difference, differences, told_of
from .place import RunPlace, find_place
from .reading import read_record, record_of
from .study import StudyDescription
from .terminal_table import aligned, spark_line

__all__ = [
    "DESCRIPTION_FILE",
    "Catalogue",
    "ComparedRun",
    "Comparison",
    "DescribedDevice",
    "Difference",
    "RunDescription",
    "RunEntry",
    "RunPlace",
    "StudyDescription",
    "aligned",
    "compare",
    "differences",
    "find_place",
    "find_runs",
    "read_record",
    "record_of",
    "spark_line",
    "told_of",
]
