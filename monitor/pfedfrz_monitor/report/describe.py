"""A run in a few lines, for a terminal."""

from __future__ import annotations

from .records import Moment, RunRecord
from .spread import final_accuracy

__all__ = ["describe_record"]


def describe_record(record: RunRecord) -> list[str]:
    """Accuracies, updates, bytes, faults and time, a line each."""
    lines = []
    whose = "benign devices" if record.knows_attackers else "devices"
    for moment in Moment:
        final = final_accuracy(record, moment)
        if final.spread is None:
            continue
        spread = final.spread
        lines.append(
            f"{moment.value:<9} {spread.mean:6.1%} +- {spread.std:.1%} over {spread.devices} "
            f"{whose} (lowest {spread.min:.1%}), {final.when}"
        )
    rejected = ", ".join(f"{count} {reason}" for reason, count in record.rejected.items())
    up, down = record.uplink_bytes / 1e6, record.downlink_bytes / 1e6
    faults = ", ".join(f"{count} {kind}" for kind, count in record.faults.items())
    return [
        *lines,
        f"updates   {record.accepted} accepted, {rejected or 'none'} rejected",
        f"bytes     {up:.2f} MB up, {down:.2f} MB down",
        *((f"faults    {faults}",) if faults else ()),
        f"time      {record.wall_s:.1f} s",
    ]
