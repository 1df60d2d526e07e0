"""What a device owes the coordinator for a round, an update or an answer: decisions only.

An update is kept, offered, uploaded when it is granted, and settled by a verdict; an answer is said
instead of one. Both are idempotent and are said again whenever they may have been lost. Everything
is said in the epoch of the newest announcement, which the session knows.
"""

from __future__ import annotations

from pfedfrz_protocol import (
    Accepted,
    Evaluated,
    Grant,
    LocalReport,
    Purpose,
    Rejected,
    RoundAnnouncement,
    RoundFailed,
    UpdateReady,
    chunk_count,
    describe_transfer,
    numbers_in,
)

from .outbox import PendingUpdate
from .session_exchange import (
    Action,
    Announce,
    Complain,
    ForgetPending,
    KeepPending,
    RememberSettled,
    UpdateAccepted,
    Upload,
)

__all__ = ["Delivery"]


class Delivery:
    """The update that waits to be settled, or the answer that was given instead of one."""

    def __init__(self, boot_id: str, pending: PendingUpdate | None = None) -> None:
        """`pending` is the update that an earlier life has left."""
        self._boot_id = boot_id
        self._pending = pending
        self._answer: Evaluated | RoundFailed | None = None

    def has_update_for(self, announcement: RoundAnnouncement) -> bool:
        """Whether the update that waits is of this very round and model."""
        pending, wanted = self._pending, (announcement.round, announcement.model.digest)
        return (
            pending is not None
            and announcement.purpose is Purpose.TRAIN
            and (pending.round, pending.base) == wanted
        )

    def forget_answer(self) -> None:
        """Another round begins, which has no answer yet."""
        self._answer = None

    def forget_update(self) -> list[Action]:
        """An update that waits is good for nothing any more."""
        if self._pending is None:
            return []
        self._pending = None
        return [ForgetPending()]

    # What is said

    def keep(self, update: PendingUpdate, epoch: int) -> list[Action]:
        """The round is trained: keep the update, then offer it."""
        self._pending = update
        return [KeepPending(update), *self.offer(epoch)]

    def offer(self, epoch: int) -> list[Action]:
        """Say, perhaps again, which update waits; nothing when none does."""
        pending = self._pending
        if pending is None:
            return []
        transfer = describe_transfer(pending.payload)
        return [
            Announce(
                UpdateReady(
                    pending.round, epoch, self._boot_id, pending.base, transfer, pending.report
                )
            )
        ]

    def evaluated(self, number: int, epoch: int, report: LocalReport) -> list[Action]:
        """The round asked for figures only, and here they are."""
        self._answer = Evaluated(number, epoch, self._boot_id, report)
        return self.answer_again()

    def failed(self, number: int, epoch: int, detail: str) -> list[Action]:
        """No update comes of the round."""
        self._pending = None
        self._answer = RoundFailed(number, epoch, self._boot_id, detail)
        return [Complain(f"round {number}: {detail}"), *self.answer_again()]

    def answer_again(self) -> list[Action]:
        """Say what settled the round, where that was not an update."""
        return [Announce(self._answer)] if self._answer else []

    # What the coordinator says to it

    def granted(self, grant: Grant) -> list[Action]:
        """The chunks that the coordinator wants; nothing when no update waits."""
        if self._pending is None:
            return []
        payload = self._pending.payload
        chunks = numbers_in(grant.chunks, chunk_count(len(payload)))
        return [Upload(grant.round, payload, chunks)]

    def settled(self, verdict: Accepted | Rejected) -> list[Action]:
        """The update is accepted, or will never be: either way nothing waits any more."""
        self._pending = None
        said: Action = UpdateAccepted(verdict.round)
        if isinstance(verdict, Rejected):
            said = Complain(
                f"round {verdict.round}: the coordinator rejected the update, "
                f"{verdict.reason.value}: {verdict.detail}"
            )
        return [said, RememberSettled(verdict.round, verdict.epoch), ForgetPending()]
