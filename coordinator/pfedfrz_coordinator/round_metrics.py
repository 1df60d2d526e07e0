"""A closed round in numbers, from the journal's rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

from pfedfrz_protocol import RejectReason, RoundMetrics

from .journal import Journal, RoundRow

__all__ = ["summarize_round"]

_MOST_BYTES = 1 << 48
_LONGEST_S = 1e9


def summarize_round(
    journal: Journal, row: RoundRow, ignored: Mapping[RejectReason, int]
) -> RoundMetrics:
    """The numbers of a round that is just being closed."""
    members = journal.members(row.number)
    reports = [m.report for m in members if m.report is not None]
    accepted = [m for m in members if m.status == "accepted"]
    answered = ("accepted", "reported", "rejected", "failed")
    return RoundMetrics(
        round=row.number,
        purpose=row.purpose,
        model_version=row.model_version,
        selected=len(members),
        accepted=len(accepted),
        rejected=journal.rejects(row.number),
        missing=sum(m.status not in answered for m in members),
        received_mean=_mean(r.received for r in reports),
        local_mean=_mean(r.local for r in reports),
        loss_mean=_mean(r.loss for r in reports),
        uplink_bytes=sum(m.payload_bytes for m in accepted) + journal.rejected_bytes(row.number),
        # What devices say, and what a clock that was set in mid-round says, has no bound of its
        # own; the message has.
        downlink_bytes=min(_MOST_BYTES, sum(r.downloaded_bytes for r in reports)),
        duration_s=min(_LONGEST_S, max(0.0, time.time() - row.opened_at)),
        update_norms={m.device: m.norm for m in accepted if m.norm is not None},
        received_loss_mean=_mean(r.received_loss for r in reports),
        local_loss_mean=_mean(r.local_loss for r in reports),
        stale=sum(m.stale > 0 for m in accepted),
        ignored=dict(ignored),
        update_cosines={
            m.device: max(-1.0, min(1.0, m.cosine))
            for m in accepted
            if m.cosine is not None and math.isfinite(m.cosine)
        },
        train_s=min(_LONGEST_S, sum(r.train_s for r in reports)),
        evaluate_s=min(_LONGEST_S, sum(r.evaluate_s for r in reports)),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
