"""The partial sums of one round, as they come in from the workers that hold its updates.

Decisions only: who is asked for which updates, what has come, who has lost theirs. A share that is
not answered is asked for again until its worker has been silent for too long. What is merged is
exact, so that the order of the answers changes no bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pfedfrz_protocol import (
    MAX_SHARE,
    CollectOrder,
    ProtocolError,
    Reassembly,
    RejectReason,
    SumImpossible,
    SumReady,
)

from .aggregation import ExactSum
from .journal import Holding

__all__ = ["Collection"]

_ASKED_AGAIN = 4
"""So often within the time that a worker may be silent."""


@dataclass
class _Share:
    worker: str
    order: CollectOrder
    samples: int
    """Of its updates together: what the partial sum must have."""
    heard_s: float
    asked_s: float | None = None
    reassembly: Reassembly | None = None
    is_done: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for device, _ in self.order.updates)


@dataclass
class Collection:
    """What is being collected for one round."""

    round: int
    epoch: int
    local: tuple[str, ...]
    """Devices whose updates the coordinator itself has."""
    total: ExactSum
    timeout_s: float
    shares: list[_Share] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Devices whose updates are gone, and the worker that held them."""

    @classmethod
    def begin(
        cls,
        number: int,
        epoch: int,
        devices: Mapping[str, int],
        holdings: Mapping[str, Holding],
        parameters: int,
        timeout_s: float,
        now_s: float,
    ) -> Collection:
        """Ask for `devices`, `{device: samples}`, from whoever holds them."""
        by_worker: dict[str, list[tuple[str, str]]] = {}
        for device in sorted(devices):
            if device in holdings:
                held = holdings[device]
                by_worker.setdefault(held.worker, []).append((device, held.sha256))
        local = tuple(device for device in sorted(devices) if device not in holdings)
        found = cls(number, epoch, local, ExactSum(parameters), timeout_s)
        for worker, updates in sorted(by_worker.items()):
            for start in range(0, len(updates), MAX_SHARE):
                part = tuple(updates[start : start + MAX_SHARE])
                order = CollectOrder(number, epoch, len(found.shares), part)
                samples = sum(devices[device] for device, _ in part)
                found.shares.append(_Share(worker, order, samples, now_s))
        return found

    @property
    def is_over(self) -> bool:
        """Whether everything has come or is known to be lost."""
        return all(share.is_done for share in self.shares)

    def due(self, now_s: float) -> list[tuple[str, CollectOrder]]:
        """The orders to send now, with their workers; whoever was silent too long has lost it."""
        orders = list[tuple[str, CollectOrder]]()
        for share in self.shares:
            if share.is_done:
                continue
            if now_s >= share.heard_s + self.timeout_s:
                self._give_up(share, share.devices)
            elif now_s >= self._ask_at_s(share):
                share.asked_s = now_s
                orders.append((share.worker, share.order))
        return orders

    def excuse(self, now_s: float) -> None:
        """Nobody could be heard until now: silence is counted from here."""
        for share in self.shares:
            share.heard_s = now_s

    def wake_at_s(self) -> float:
        """When `due` should be asked next."""
        return min(
            (
                min(share.heard_s + self.timeout_s, self._ask_at_s(share))
                for share in self.shares
                if not share.is_done
            ),
            default=float("inf"),
        )

    def on_event(self, worker: str, event: SumReady | SumImpossible, now_s: float) -> None:
        """A worker's answer; ProtocolError for one that nobody waits for or that cannot be."""
        share = self._share(worker, event.round, event.share)
        if share is None or event.epoch != self.epoch:
            raise ProtocolError(RejectReason.LATE, f"{worker} answers what nobody asks")
        share.heard_s = now_s
        if isinstance(event, SumImpossible):
            gone = set(event.missing)
            self._give_up(share, tuple(d for d in share.devices if d in gone) or share.devices)
            return
        size = ExactSum.encoded_bytes(self.total.parameters)
        if event.samples != share.samples or event.transfer.payload_bytes != size:
            self._give_up(share, share.devices)
            raise ProtocolError(
                RejectReason.MALFORMED,
                f"{worker} sums up {event.samples} samples in {event.transfer.payload_bytes} "
                f"bytes, not {share.samples} in {size}",
            )
        if share.reassembly is None or share.reassembly.transfer != event.transfer:
            share.reassembly = Reassembly(event.transfer, size)

    def on_chunk(
        self, worker: str, number: int, share_number: int, chunk: int, data: bytes, now_s: float
    ) -> None:
        """A chunk of a partial sum, merged with the last; ProtocolError for one that is wrong."""
        share = self._share(worker, number, share_number)
        if share is None or share.reassembly is None:
            return
        if chunk in share.reassembly.missing:
            # Chunks are not signed: one that is there already is no sign of life.
            share.heard_s = now_s
        payload = share.reassembly.add(chunk, data)
        if payload is None:
            return
        try:
            partial = ExactSum.decode(payload, self.total.parameters)
            if partial.samples != share.samples:
                raise ValueError(f"{partial.samples} samples, not {share.samples}")
        except ValueError as error:
            self._give_up(share, share.devices)
            raise ProtocolError(RejectReason.MALFORMED, f"{worker}: {error}") from error
        self.total.merge(partial)
        share.is_done, share.reassembly = True, None

    def _ask_at_s(self, share: _Share) -> float:
        if share.asked_s is None:
            return share.heard_s
        return max(share.asked_s, share.heard_s) + self.timeout_s / _ASKED_AGAIN

    def _share(self, worker: str, number: int, share: int) -> _Share | None:
        if number != self.round or not 0 <= share < len(self.shares):
            return None
        found = self.shares[share]
        return found if found.worker == worker and not found.is_done else None

    def _give_up(self, share: _Share, devices: tuple[str, ...]) -> None:
        share.is_done, share.reassembly = True, None
        self.lost.update(dict.fromkeys(devices, share.worker))
