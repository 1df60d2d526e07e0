"""Several runs side by side, and what a reader must know before believing a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..report.records import Moment, RunRecord, RunState
from ..report.spread import final_accuracy, round_spreads

__all__ = ["ComparedRun", "Comparison", "compare"]


@dataclass(frozen=True)
class ComparedRun:
    """One run's numbers; accuracies are shares, None where nothing was measured."""

    name: str
    state: RunState
    seed: int | None
    devices: int
    attackers: int | None
    rounds: int
    received: float | None
    received_measured: str
    local: float | None
    local_measured: str
    local_worst: float | None
    received_difference: float | None
    """To the first run."""
    local_difference: float | None
    accepted: int
    rejected: int
    uplink_bytes: int
    downlink_bytes: int
    train_s: float
    """Seconds of training, summed over devices and rounds."""
    wall_s: float
    received_by_round: tuple[float | None, ...]
    local_by_round: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """The runs in the order in which they were named."""

    runs: tuple[ComparedRun, ...]
    warnings: tuple[str, ...]


def compare(runs: Sequence[tuple[str, RunRecord]]) -> Comparison:
    """Numbers of named runs side by side; differences are to the first."""
    compared: list[ComparedRun] = []
    for name, record in runs:
        received, local = (final_accuracy(record, moment) for moment in Moment)
        first = compared[0] if compared else None
        means = [final.spread.mean if final.spread else None for final in (received, local)]
        compared.append(
            ComparedRun(
                name,
                record.state,
                record.settings.seed,
                record.settings.devices,
                record.settings.attackers,
                len(record.rounds),
                means[0],
                received.when,
                means[1],
                local.when,
                local.spread.min if local.spread else None,
                _difference(first.received, means[0]) if first else None,
                _difference(first.local, means[1]) if first else None,
                record.accepted,
                sum(record.rejected.values()),
                record.uplink_bytes,
                record.downlink_bytes,
                sum(row.train_s for row in record.rounds),
                record.wall_s,
                *(_by_round(record, moment) for moment in Moment),
            )
        )
    return Comparison(tuple(compared), tuple(_warnings([record for _, record in runs])))


def _difference(first: float | None, here: float | None) -> float | None:
    return None if first is None or here is None else here - first


def _by_round(record: RunRecord, moment: Moment) -> tuple[float | None, ...]:
    return tuple(spread.mean if spread else None for spread in round_spreads(record, moment))


def _warnings(records: Sequence[RunRecord]) -> list[str]:
    said = []

    def differ(values: list[object], text: str) -> None:
        if len({str(value) for value in values}) > 1:
            shown = ", ".join("unknown" if value is None else str(value) for value in values)
            said.append(text.format(shown))

    seeds = [record.settings.seed for record in records]
    if len(set(seeds)) > 1 or None in seeds:
        differ(list(seeds), "seeds differ ({}): chance is part of every difference")
    else:
        said.append("one seed: with another one the difference may be another; see pfedfrz study")
    differ([r.settings.dataset for r in records], "datasets differ ({})")
    differ([r.settings.split or r.settings.alpha for r in records], "splits differ ({})")
    differ([r.settings.devices for r in records], "numbers of devices differ ({})")
    differ([r.settings.attackers for r in records], "numbers of attackers differ ({})")
    differ([r.settings.attack for r in records], "attacks differ ({})")
    differ([len(r.rounds) for r in records], "numbers of completed rounds differ ({})")
    for moment in Moment:
        times = [final_accuracy(record, moment).when for record in records]
        differ(list(times), f"{moment.value} was not measured at the same moment ({{}})")
    if any(not r.knows_attackers for r in records):
        said.append("where nobody knows who attacks, means are over all devices")
    if any(r.state is not RunState.FINISHED for r in records):
        differ([r.state.value for r in records], "not all of them are finished ({})")
    return said
