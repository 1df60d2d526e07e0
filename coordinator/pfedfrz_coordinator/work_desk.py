"""The coordinator's side of its workers: orders out, verdicts and partial sums in.

An order goes to one topic that workers share, and the broker picks who gets it. Nothing here
depends on whom: a lost order or a dead worker is a grant that expires, after which the order goes
out again, and of two workers with the same update that one holds it whose verdict was written down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from pfedfrz_protocol import (
    ProtocolError,
    RejectReason,
    SigningKey,
    SumImpossible,
    SumReady,
    Topics,
    UpdateHeld,
    UpdateUnfit,
    UploadGoesOn,
    UploadOrder,
    WorkerEvent,
    open_signed,
    sign_message,
)
from pfedfrz_transport import Link, LinkOverflow

from .collection import Collection
from .journal import Holding

__all__ = ["WorkDesk"]

log = logging.getLogger(__name__)


class WorkDesk:
    """Speaks with all workers of one federation."""

    def __init__(
        self,
        topics: Topics,
        link: Link,
        key: SigningKey,
        *,
        parameters: int,
        max_samples: int,
        collect_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._topics = topics
        self._link = link
        self._key = key
        self._parameters = parameters
        self._max_samples = max_samples
        self._timeout_s = collect_timeout_s
        self._clock = clock
        self._collection: Collection | None = None

    def subscribe(self) -> None:
        """Listen to all workers."""
        self._link.subscribe(self._topics.every_worker("event"))
        self._link.subscribe(self._topics.every_sum_chunk)

    def order(self, order: UploadOrder) -> None:
        """Have an upload granted, received and judged by some worker."""
        self._publish(self._topics.orders, order)

    def take(
        self, topic: str, payload: bytes
    ) -> tuple[str, UploadGoesOn | UpdateHeld | UpdateUnfit] | None:
        """A worker's word on an upload, with its name; None for what is not, or was dealt with.

        Raises ProtocolError for a worker's message that is not to be listened to.
        """
        chunk = self._topics.parse_sum_chunk(topic)
        if chunk is not None:
            if self._collection is not None:
                self._collection.on_chunk(*chunk, payload, self._clock())
            return None
        sender = self._topics.parse_worker(topic)
        if sender is None or sender.leaf != "event":
            return None
        event: WorkerEvent = open_signed(
            payload,
            WorkerEvent,  # type: ignore[arg-type]
            topic,
            self._key.public,
            f"worker {sender.worker} has another key than this coordinator",
        )
        if isinstance(event, UpdateHeld) and event.samples > self._max_samples:
            raise ProtocolError(
                RejectReason.SAMPLES_EXCEEDED,
                f"worker {sender.worker} holds {event.samples} samples of {event.device}, which "
                f"may have {self._max_samples}: its [validation] is not this coordinator's",
            )
        if not isinstance(event, SumReady | SumImpossible):
            return sender.worker, event
        if self._collection is not None:
            self._collection.on_event(sender.worker, event, self._clock())
        return None

    # Partial sums

    def collect(
        self, number: int, epoch: int, devices: Mapping[str, int], holdings: Mapping[str, Holding]
    ) -> None:
        """Begin to collect the sum of `{device: samples}` from who holds their updates."""
        self._collection = Collection.begin(
            number, epoch, devices, holdings, self._parameters, self._timeout_s, self._clock()
        )

    def collected(self) -> Collection | None:
        """A collection that is over, once; until then it sends the orders that are due."""
        collection = self._collection
        if collection is None:
            return None
        if not self._link.is_up:
            collection.excuse(self._clock())
            return None
        for worker, order in collection.due(self._clock()):
            self._publish(self._topics.worker(worker, "command"), order)
        if not collection.is_over:
            return None
        self._collection = None
        return collection

    def wake_at_s(self) -> float | None:
        """When `collected` should be asked again at the latest; None when only messages matter."""
        if self._collection is None or not self._link.is_up:
            return None
        return self._collection.wake_at_s()

    def _publish(self, topic: str, message: object) -> None:
        try:
            self._link.publish(topic, sign_message(message, topic, self._key))  # type: ignore[arg-type]
        except LinkOverflow as error:
            # Grants expire and collections are asked for again: a lost order costs time alone.
            log.warning("an order to the workers was dropped: %s", error)
