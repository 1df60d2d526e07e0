"""The ways in which a link can fail its owner; all are for the world to mend (exit code 1)."""

from __future__ import annotations

from pfedfrz_protocol.errors import OperationError

__all__ = ["BrokerUnreachable", "LinkClosed", "LinkOverflow", "PayloadTooLarge"]


class BrokerUnreachable(OperationError):
    """No connection in time; says which broker, what happened and what to do."""

    def __init__(self, broker: str, happened: str, remedy: str) -> None:
        super().__init__(f"broker {broker} does not answer: {happened}; {remedy}")
        self.broker = broker
        self.happened = happened
        self.remedy = remedy


class LinkOverflow(OperationError):
    """A bounded outgoing queue is full: the owner publishes faster than the broker takes."""


class PayloadTooLarge(OperationError):
    """A message over the size that the broker or its subscribers accept; send it as chunks."""

    def __init__(self, topic: str, packet_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"a message of {packet_bytes} bytes on {topic} is over this connection's limit of "
            f"{limit_bytes} bytes; send it in chunks with publish_bulk"
        )
        self.topic = topic
        self.packet_bytes = packet_bytes
        self.limit_bytes = limit_bytes


class LinkClosed(OperationError):
    """The link was closed by its owner and takes nothing more."""
