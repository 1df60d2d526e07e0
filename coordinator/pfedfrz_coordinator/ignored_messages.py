"""Messages that were not listened to: counted all, logged now and then, raised never."""

from __future__ import annotations

import logging
from collections import Counter

from pfedfrz_protocol import ProtocolError, Rarely, RejectReason

__all__ = ["IgnoredMessages"]

log = logging.getLogger(__name__)


class IgnoredMessages:
    """Those of one process."""

    def __init__(self) -> None:
        self.counts: Counter[RejectReason] = Counter()
        """By reason, since they were last drained."""
        self._rarely = Rarely()

    def add(self, topic: str, error: ProtocolError) -> None:
        """One more, for this reason."""
        self.counts[error.reason] += 1
        if self._rarely.occurs(error.reason.value):
            log.warning("ignored a message on %s: %s", topic, error)

    def drain(self) -> Counter[RejectReason]:
        """The counts since the last call."""
        drained, self.counts = self.counts, Counter()
        return drained
