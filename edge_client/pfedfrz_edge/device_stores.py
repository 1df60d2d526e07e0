"""Everything that a device keeps on its disk for the rounds of one bundle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    OperationError,
    ProtocolError,
    SharedCodec,
    SigningKey,
    open_tensors,
    seal_tensors,
)

from .download_store import DownloadStore
from .error_feedback import ErrorFeedback
from .model_store import ModelStore
from .outbox import Outbox, PendingUpdate, SettledRound
from .personal_store import PersonalStore
from .session_exchange import ForgetPending, RememberSettled

__all__ = ["DeviceStores"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceStores:
    """The stores below one directory."""

    outbox: Outbox
    feedback: ErrorFeedback
    personal: PersonalStore
    models: ModelStore
    downloads: DownloadStore

    @classmethod
    def open(cls, home: Path, bundle_digest: str, codec: SharedCodec) -> DeviceStores:
        """The stores in `home`, which is made; OperationError where the disk refuses that."""
        return cls(
            Outbox(home),
            ErrorFeedback(home, bundle_digest, codec.layout),
            PersonalStore(home, bundle_digest),
            ModelStore(home, bundle_digest),
            DownloadStore(home),
        )

    def pending_update(self, key: SigningKey) -> PendingUpdate | None:
        """The update that waits since before, signed anew if the key was rotated meanwhile."""
        pending = self.outbox.get()
        if pending is None:
            return None
        try:
            payload = open_tensors(pending.payload).payload
        except ProtocolError as error:
            log.error("the update that waits cannot be used, the round is trained again: %s", error)
            return None
        sealed = seal_tensors(bytes(payload), key)  # the same bytes, if the key is the same
        return msgspec.structs.replace(pending, payload=sealed)

    def settled(self) -> tuple[int, int] | None:
        """The (epoch, round) that was settled last; None when none is known."""
        settled = self.outbox.settled()
        return (settled.epoch, settled.round) if settled else None

    def settle(self, action: ForgetPending | RememberSettled) -> None:
        """Note that a round is over; a disk that refuses is said and does not end the device."""
        try:
            if isinstance(action, RememberSettled):
                self.outbox.settle(SettledRound(action.round, action.epoch))
            else:
                self.outbox.clear()
        except OperationError as error:
            # It costs work after a restart at most: an update that is offered twice is refused.
            log.error("%s", error)
