"""The coordinator's durable state as one thing: journal, checkpoints and accepted updates."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from .aggregation import AggregationRule, ExactSum, Mean, aggregate, round_seed
from .checkpoints import Checkpoints
from .epochs import seconds_since_2020
from .flat import flatten, unflatten
from .journal import Journal, RoundRow
from .round_metrics import summarize_round
from .step_cosines import step_cosines
from .update_store import StoredUpdates, UpdateStore
from .validation import ValidUpdate

__all__ = ["CoordinatorState", "Recovered"]

_FEWEST_KEPT = 3


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
    late: tuple[tuple[str, int], ...] = ()
    """Of the accepted, those made in an earlier round, with that round."""
    recent: tuple[tuple[int, Parameters], ...] = ()
    """(round, the model that it began with) of the last rounds of training that are kept."""
    counted: tuple[tuple[str, int], ...] = ()
    """The newest round of which each device has given an update, where late ones are welcome."""


class CoordinatorState:
    """Everything that must survive the process, in one directory."""

    def __init__(
        self,
        directory: Path,
        bundle: Bundle,
        *,
        stale_rounds: int = 0,
        exact: bool = False,
        workers: bool = False,
    ) -> None:
        """Open or make; ConfigurationError when the directory belongs to another bundle.

        The models of `stale_rounds` rounds are kept for updates that come late. `exact` says that
        only differences can be aggregated, `workers` that workers may hold accepted updates.
        """
        self._exact = exact
        self._workers = workers
        self._stale_rounds = stale_rounds
        self._bundle = bundle
        self._digest = bundle.manifest.digest
        self._layout = bundle.manifest.layout(Group.SHARED)
        self._parameters = sum(spec.elements for spec in self._layout)
        self.journal = Journal(directory / "journal.sqlite")
        self._checkpoints = Checkpoints(directory / "models", max(_FEWEST_KEPT, stale_rounds + 2))
        self.updates = UpdateStore(directory / "updates")
        known = self.journal.fact("bundle")
        if known not in (None, self._digest):
            raise ConfigurationError(
                f"{directory} belongs to another bundle ({known[:12]}...): go over to this one "
                "with --adopt-bundle, choose another state_dir, or bring back that bundle"
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
        now = seconds_since_2020(clock_s)
        if now is None:
            date = time.strftime("%Y-%m-%d", time.gmtime(clock_s))
            self.journal.note(
                f"this machine's clock says {date}, which is not believed; rounds are counted on "
                "without it"
            )
            now = 0
        epoch = max(int(self.journal.fact("epoch") or 0) + 1, now)
        # Also a start that opens no round has an epoch of its own: what was asked of it is not
        # asked of the next one, be that within the same second or after the clock was set back.
        self.journal.set_fact("epoch", str(epoch))
        version = self.journal.last_closed(Purpose.TRAIN)
        accepted, owing, late = self._members_of_open_round()
        return Recovered(
            epoch,
            self.journal.last_closed(),
            version,
            self._checkpoints.load(version),
            accepted,
            owing,
            late,
            self._recent_models(),
            self._counted() if self._stale_rounds else (),
        )

    def _recent_models(self) -> tuple[tuple[int, Parameters], ...]:
        first = self.journal.last_closed() + 1 - self._stale_rounds
        found = list[tuple[int, Parameters]]()
        for row in self.journal.rounds():
            if row.number >= first and row.closed_at and row.purpose is Purpose.TRAIN:
                # One that is not kept any more, as under an earlier setting, is welcome to nobody.
                with contextlib.suppress(OperationError):
                    found.append((row.number, self._checkpoints.load(row.model_version)))
        return tuple(found)

    def _counted(self) -> tuple[tuple[str, int], ...]:
        """The newest round of which each device has given an update, among the last rounds."""
        newest = dict[str, int]()
        last = self.journal.last_closed() + 1
        for number in range(max(1, last - self._stale_rounds), last + 1):
            for member in self.journal.members(number):
                if member.status == "accepted":
                    origin = number - member.stale
                    newest[member.device] = max(origin, newest.get(member.device, 0))
        return tuple(newest.items())

    def _members_of_open_round(
        self,
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, int], ...]]:
        """Who has delivered and who has not, by what is really on the disk."""
        accepted, owing, late = list[str](), list[str](), list[tuple[str, int]]()
        for row in self.journal.open_rounds():
            # What a worker holds is looked for when it is collected.
            held = self.journal.holdings(row.number) if self._workers else {}
            for member in self.journal.members(row.number):
                if member.status != "accepted":
                    if member.status in ("selected", "offered"):
                        owing.append(member.device)
                elif member.device in held or self.updates.holds(
                    row.number, member.device, self._parameters, as_difference=self._exact
                ):
                    accepted.append(member.device)
                    if member.stale:
                        late.append((member.device, row.number - member.stale))
                else:
                    self.journal.note(
                        f"round {row.number}: the accepted update of {member.device} is not on the "
                        "disk any more; it is asked for again"
                    )
                    self.journal.forget_accepted(row.number, member.device)
                    owing.append(member.device)
        return tuple(accepted), tuple(owing), tuple(late)

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
        written = self.updates.write_aside(round_number, device, update.numbers)
        passed = Passed(device, update.samples, update.norm, payload_bytes, written, round_number)
        self.accept_all(round_number, [passed])

    def accept_all(self, round_number: int, passed: Sequence[Passed]) -> None:
        """Make valid updates that were written aside durable, all together."""
        self.updates.adopt(
            round_number, {each.device: each.written for each in passed if each.written}
        )
        rows = [
            (each.device, each.samples, each.norm, each.payload_bytes, each.stale)
            for each in passed
        ]
        holdings = {each.device: each.holding for each in passed if each.holding}
        self.journal.accept_all(round_number, rows, holdings)

    def aggregate(
        self, round_number: int, devices: Sequence[str], rule: AggregationRule, seed: int = 0
    ) -> Parameters:
        """The next model, made of these devices' updates and already durable as a checkpoint.

        `seed` is the federation's; every round draws anew. Which way each update pulled is written
        into the journal.
        """
        row = self._written_down(round_number)
        samples = {row.device: row.samples for row in self.journal.members(round_number)}
        base = flatten(self._checkpoints.load(row.model_version), self._layout)
        updates = self.updates.open(round_number, devices, self._parameters, base)
        merged = aggregate(
            rule,
            updates,
            [float(samples[device]) for device in devices],
            reference=base,
            seed=round_seed(seed, round_number),
        )
        shared = self._keep_model(round_number, merged)
        shares = _shares([samples[device] for device in devices])
        is_mean = isinstance(rule, Mean)
        self._record_cosines(round_number, devices, updates, shares, merged, is_mean=is_mean)
        return shared

    def finish_mean(self, round_number: int, local: Sequence[str], total: ExactSum) -> Parameters:
        """The next model: the mean of what workers have added up in `total`, and of the updates of
        the devices `local`, which are here. It is durable as a checkpoint.

        Which way an update pulled is known of those that are here alone: the others are on the
        disks of workers, which give sums and no update.
        """
        row = self._written_down(round_number)
        base = flatten(self._checkpoints.load(row.model_version), self._layout)
        if not self._parameters:
            return self._keep_model(round_number, base)
        samples = {row.device: row.samples for row in self.journal.members(round_number)}
        here = self.updates.open(round_number, local, self._parameters, base)
        for place, device in enumerate(local):
            total.add(here.difference(place), samples[device])
        merged = total.mean(base)
        shared = self._keep_model(round_number, merged)
        shares = [samples[device] / total.samples for device in local]
        self._record_cosines(round_number, local, here, shares, merged, is_mean=True)
        return shared

    def _record_cosines(
        self,
        round_number: int,
        devices: Sequence[str],
        updates: StoredUpdates,
        shares: Sequence[float],
        merged: NDArray[np.float32],
        *,
        is_mean: bool,
    ) -> None:
        """Write down how each update stands to the mean of the others, while they are here."""
        if updates.base is None:
            return
        cosines = step_cosines(updates, shares, updates.base, merged, is_mean=is_mean)
        known = {d: c for d, c in zip(devices, cosines, strict=True) if c is not None}
        self.journal.record_cosines(round_number, known)

    def _keep_model(self, round_number: int, vector: NDArray[np.float32]) -> Parameters:
        shared = unflatten(vector, self._layout)
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


def _shares(samples: Sequence[int]) -> list[float]:
    whole = sum(samples)
    return [count / whole for count in samples]
