"""The coordinator's durable state as one thing: journal, checkpoints and accepted updates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    Parameters,
    Purpose,
    RoundAnnouncement,
    RoundMetrics,
    SharedCodec,
)

from .aggregation import AggregationRule, aggregate
from .checkpoints import Checkpoints
from .flat import unflatten
from .journal import Journal
from .round_metrics import summarize_round
from .update_store import UpdateStore
from .validation import ValidUpdate

__all__ = ["CoordinatorState", "Recovered"]

_EPOCH_ZERO_S = 1_577_836_800  # 2020-01-01 UTC


class Recovered:
    """What the disk says at a start."""

    def __init__(
        self, epoch: int, completed: int, version: int, shared: Parameters, accepted: Sequence[str]
    ) -> None:
        self.epoch = epoch
        self.completed = completed
        self.version = version
        self.shared = shared
        self.accepted = tuple(accepted)


class CoordinatorState:
    """Everything that must survive the process, in one directory."""

    def __init__(self, directory: Path, bundle: Bundle) -> None:
        """Open or make; ConfigurationError when the directory belongs to another bundle."""
        self._bundle = bundle
        self._digest = bundle.manifest.digest
        self._codec = SharedCodec.for_manifest(bundle.manifest)
        self.journal = Journal(directory / "journal.sqlite")
        self._checkpoints = Checkpoints(directory / "models")
        self._updates = UpdateStore(directory / "updates")
        known = self.journal.fact("bundle")
        if known not in (None, self._digest):
            raise ConfigurationError(
                f"{directory} belongs to another bundle ({known[:12]}...); choose another "
                "state_dir, or bring back that bundle to go on with it"
            )
        self._checkpoints.prepare()
        if known is None:
            self._checkpoints.save(0, bundle.initial_weights(Group.SHARED), self._digest)
            self.journal.set_fact("bundle", self._digest)

    def recover(self) -> Recovered:
        """Where to go on: a fresh epoch, the last closed round, its model, what is accepted.

        The epoch is never lower than the seconds since 2020, so that it also grows when this
        directory was wiped while devices still remember the announcements of before.
        """
        epoch = max(int(self.journal.fact("epoch") or 0) + 1, int(time.time()) - _EPOCH_ZERO_S)
        rows = self.journal.rounds()
        closed = [row for row in rows if row.closed_at is not None]
        trained = [row.number for row in closed if row.purpose is Purpose.TRAIN]
        version = max(trained, default=0)
        accepted = [
            member.device
            for row in rows
            if row.closed_at is None
            for member in self.journal.members(row.number)
            if member.status == "accepted"
        ]
        completed = max((row.number for row in closed), default=0)
        return Recovered(epoch, completed, version, self._checkpoints.load(version), accepted)

    def open_round(self, announcement: RoundAnnouncement) -> None:
        """Write a round down before it is announced."""
        self.journal.set_fact("epoch", str(announcement.epoch))
        self.journal.open_round(
            announcement.round,
            announcement.purpose,
            announcement.model.version,
            announcement.model.digest,
            announcement.selected,
        )

    def accept(
        self, round_number: int, device: str, update: ValidUpdate, payload_bytes: int
    ) -> None:
        """Make a valid update durable; after this it may be acknowledged."""
        self._updates.put(round_number, device, update.vector)
        self.journal.accept(round_number, device, update.samples, update.norm, payload_bytes)

    def aggregate(
        self, round_number: int, devices: Sequence[str], rule: AggregationRule
    ) -> Parameters:
        """The next model, made of these devices' updates and already durable as a checkpoint."""
        layout = self._codec.layout
        parameters = sum(spec.elements for spec in layout)
        samples = {row.device: row.samples for row in self.journal.members(round_number)}
        vectors = [self._updates.open(round_number, device, parameters) for device in devices]
        merged = aggregate(rule, vectors, [float(samples[device]) for device in devices])
        shared = unflatten(merged, layout)
        self._checkpoints.save(round_number, shared, self._digest)
        return shared

    def close_round(self, round_number: int) -> RoundMetrics:
        """Close a round whose model is durable; its numbers."""
        row = next(row for row in self.journal.rounds() if row.number == round_number)
        metrics = summarize_round(self.journal, row)
        self.journal.close_round(round_number, metrics)
        self._updates.drop_through(round_number)
        return metrics
