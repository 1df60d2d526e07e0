"""The coordinator's durable state as one thing: journal, checkpoints and accepted updates."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    OperationError,
    Parameters,
    Purpose,
    RejectReason,
    RoundAnnouncement,
    RoundMetrics,
)

from .acceptance import Passed
from .aggregation import AggregationRule, aggregate, round_seed
from .checkpoints import Checkpoints
from .flat import flatten, unflatten
from .journal import Journal, RoundRow
from .round_metrics import summarize_round
from .update_store import UpdateStore
from .validation import ValidUpdate

__all__ = ["CoordinatorState", "Recovered"]

_EPOCH_ZERO_S = 1_577_836_800  # 2020-01-01 UTC
_LATEST_EPOCH = 900_000_000
"""In 2048. An epoch is a number of nine digits, and it has to grow with every start after that."""


@dataclass(frozen=True)
class Recovered:
    """What the disk says at a start."""

    epoch: int
    completed: int
    """The last closed round."""
    version: int
    shared: Parameters
    accepted: tuple[str, ...]
    """Devices whose updates for the open round are here."""
    owing: tuple[str, ...]
    """The other members of the open round."""


class CoordinatorState:
    """Everything that must survive the process, in one directory."""

    def __init__(self, directory: Path, bundle: Bundle) -> None:
        """Open or make; ConfigurationError when the directory belongs to another bundle."""
        self._bundle = bundle
        self._digest = bundle.manifest.digest
        self._layout = bundle.manifest.layout(Group.SHARED)
        self._parameters = sum(spec.elements for spec in self._layout)
        self.journal = Journal(directory / "journal.sqlite")
        self._checkpoints = Checkpoints(directory / "models")
        self.updates = UpdateStore(directory / "updates")
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
        directory was wiped while devices still remember the announcements of before. A clock that
        is wrong by decades is left out of it, and that is noted: an epoch has nine digits.
        """
        clock_s = int(time.time())
        now = clock_s - _EPOCH_ZERO_S
        if not 0 <= now <= _LATEST_EPOCH:
            date = time.strftime("%Y-%m-%d", time.gmtime(clock_s))
            self.journal.note(
                f"this machine's clock says {date}, which is not believed; rounds are counted on "
                "without it"
            )
            now = 0
        epoch = max(int(self.journal.fact("epoch") or 0) + 1, now)
        version = self.journal.last_closed(Purpose.TRAIN)
        accepted, owing = self._members_of_open_round()
        return Recovered(
            epoch,
            self.journal.last_closed(),
            version,
            self._checkpoints.load(version),
            accepted,
            owing,
        )

    def _members_of_open_round(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who has delivered and who has not, by what is really on the disk."""
        accepted, owing = list[str](), list[str]()
        for row in self.journal.open_rounds():
            for member in self.journal.members(row.number):
                if member.status != "accepted":
                    if member.status in ("selected", "offered"):
                        owing.append(member.device)
                elif self.updates.holds(row.number, member.device, self._parameters):
                    accepted.append(member.device)
                else:
                    self.journal.note(
                        f"round {row.number}: the accepted update of {member.device} is not on the "
                        "disk any more; it is asked for again"
                    )
                    self.journal.forget_accepted(row.number, member.device)
                    owing.append(member.device)
        return tuple(accepted), tuple(owing)

    def open_round(self, announcement: RoundAnnouncement) -> None:
        """Write a round down before it is announced."""
        self.updates.prepare(announcement.round)
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
        self.updates.prepare(round_number)
        written = self.updates.write_aside(round_number, device, update.vector)
        passed = Passed(device, update.samples, update.norm, payload_bytes, written)
        self.accept_all(round_number, [passed])

    def accept_all(self, round_number: int, passed: Sequence[Passed]) -> None:
        """Make valid updates that were written aside durable, all together."""
        self.updates.adopt(round_number, {each.device: each.written for each in passed})
        rows = [(each.device, each.samples, each.norm, each.payload_bytes) for each in passed]
        self.journal.accept_all(round_number, rows)

    def aggregate(
        self, round_number: int, devices: Sequence[str], rule: AggregationRule, seed: int = 0
    ) -> Parameters:
        """The next model, made of these devices' updates and already durable as a checkpoint.

        `seed` is the federation's; every round draws anew.
        """
        row = self._written_down(round_number)
        samples = {row.device: row.samples for row in self.journal.members(round_number)}
        merged = aggregate(
            rule,
            self.updates.open(round_number, devices, self._parameters),
            [float(samples[device]) for device in devices],
            reference=flatten(self._checkpoints.load(row.model_version), self._layout),
            seed=round_seed(seed, round_number),
        )
        shared = unflatten(merged, self._layout)
        self._checkpoints.save(round_number, shared, self._digest)
        return shared

    def close_round(
        self, round_number: int, ignored: Mapping[RejectReason, int] | None = None
    ) -> RoundMetrics:
        """Close a round whose model is durable; its numbers.

        `ignored` are the messages that were not listened to meanwhile.
        """
        row = self._written_down(round_number)
        metrics = summarize_round(self.journal, row, ignored or {})
        self.journal.close_round(round_number, metrics)
        self.updates.drop_through(round_number)
        return metrics

    def _written_down(self, round_number: int) -> RoundRow:
        row = self.journal.round(round_number)
        if row is None:
            raise OperationError(f"round {round_number} was never written down")
        return row
