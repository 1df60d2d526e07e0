"""Runs that are on the disk: where they are, what came of them, how they differ."""

from __future__ import annotations

from .description import DESCRIPTION_FILE, DescribedDevice, RunDescription
from .place import RunPlace, find_place
from .reading import read_record, record_of

__all__ = [
    "DESCRIPTION_FILE",
    "DescribedDevice",
    "RunDescription",
    "RunPlace",
    "find_place",
    "read_record",
    "record_of",
]
