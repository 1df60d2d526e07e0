"""What came of a run, read from the coordinator's journal: the one source of every report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pfedfrz_coordinator.journal import DeviceRow, Journal, RoundRow
from pfedfrz_monitor.report import (
    Closing,
    DeviceRecord,
    Moment,
    RoundRecord,
    RunRecord,
    RunSettings,
)
from pfedfrz_protocol import Purpose

from .attacks import Knowledge
from .preparation import PreparedFleet

__all__ = ["RunCircumstances", "make_run_record"]


@dataclass(frozen=True)
class RunCircumstances:
    """What the journal does not know of a run."""

    broker: str
    command: str
    started_at: str
    wall_s: float
    notes: tuple[str, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    """What went wrong on purpose, by kind."""


def make_run_record(
    fleet: PreparedFleet, journal: Journal, circumstances: RunCircumstances
) -> RunRecord:
    """The record of a run that has ended, early or not."""
    rows = [row for row in journal.rounds() if row.closed_at is not None]
    members = {row.number: {m.device: m for m in journal.members(row.number)} for row in rows}
    trained = [row for row in rows if row.purpose is Purpose.TRAIN]
    evaluated = [row for row in rows if row.purpose is Purpose.EVALUATE]
    devices = tuple(
        DeviceRecord(
            device.name,
            device.attacker,
            len(device.train_y),
            tuple(float(share) for share in fleet.label_mix[index]),
            *(
                tuple(_accuracy(members[row.number].get(device.name), moment) for row in trained)
                for moment in Moment
            ),
        )
        for index, device in enumerate(fleet.devices)
    )
    began = rows[0].opened_at if rows else 0.0
    return RunRecord(
        _settings(fleet, circumstances),
        devices,
        tuple(_round(row, members[row.number], fleet.benign, began) for row in trained),
        circumstances.wall_s,
        {reason.value: count for reason, count in journal.rejects().items()},
        _closing(evaluated[-1], members[evaluated[-1].number], fleet) if evaluated else None,
        (*fleet.notes, *circumstances.notes, *journal.notes()),
        circumstances.faults,
    )


def _accuracy(member: DeviceRow | None, moment: Moment) -> float | None:
    report = member.report if member else None
    if report is None:
        return None
    return report.received if moment is Moment.RECEIVED else report.local


def _round(
    row: RoundRow, members: dict[str, DeviceRow], benign: frozenset[str], began: float
) -> RoundRecord:
    metrics = row.metrics
    losses = [
        member.report.loss
        for name, member in members.items()
        if name in benign and member.report and member.report.loss is not None
    ]
    return RoundRecord(
        round=row.number,
        started_s=row.opened_at - began,
        duration_s=metrics.duration_s if metrics else 0.0,
        participants=len(members),
        accepted=metrics.accepted if metrics else 0,
        rejected=sum(metrics.rejected.values()) if metrics else 0,
        uplink_bytes=metrics.uplink_bytes if metrics else 0,
        downlink_bytes=metrics.downlink_bytes if metrics else 0,
        train_loss=sum(losses) / len(losses) if losses else None,
    )


def _closing(row: RoundRow, members: dict[str, DeviceRow], fleet: PreparedFleet) -> Closing:
    names: Sequence[str] = [device.name for device in fleet.devices]
    received, local = (
        tuple(_accuracy(members.get(name), moment) for name in names) for moment in Moment
    )
    metrics = row.metrics
    return Closing(
        received,
        local,
        metrics.uplink_bytes if metrics else 0,
        metrics.downlink_bytes if metrics else 0,
    )


def _settings(fleet: PreparedFleet, circumstances: RunCircumstances) -> RunSettings:
    experiment, training = fleet.experiment, fleet.experiment.training
    partition = fleet.bundle.manifest.partition
    return RunSettings(
        method=experiment.method,
        dataset=experiment.dataset,
        alpha=experiment.resolve_split().label_alpha,
        split=experiment.resolve_split().name,
        model=experiment.model,
        personal=",".join(partition.patterns),
        devices=experiment.devices,
        attackers=experiment.attackers,
        attack=experiment.attack if experiment.attackers else None,
        rounds=experiment.rounds,
        seed=experiment.seed,
        runtime=", ".join(experiment.runtimes),
        faults=experiment.faults,
        broker=circumstances.broker,
        command=circumstances.command,
        dataset_source=fleet.source,
        started_at=circumstances.started_at,
        details=(
            *_attack_form(fleet),
            ("split", experiment.resolve_split().name),
            ("samples per device", str(experiment.samples)),
            ("normalisation", fleet.normalisation),
            ("test samples", str(len(fleet.test_y))),
            ("aggregation", experiment.aggregation),
            ("encoding", experiment.encoding.value),
            *((("buffer", str(experiment.buffer)),) if experiment.buffer else ()),
            *((("over-selection", f"{experiment.overselect:g}"),) if experiment.overselect else ()),
            ("epochs per phase", str(training.epochs)),
            ("batch size", str(training.batch_size)),
            ("learning rate", f"{training.learning_rate:g}"),
            ("momentum", f"{training.momentum:g}"),
            ("weight decay", f"{training.weight_decay:g}"),
        ),
    )


def _attack_form(fleet: PreparedFleet) -> tuple[tuple[str, str], ...]:
    """Names like "sign flip" stand for several things; a report says which."""
    if not fleet.experiment.attackers:
        return ()
    attack = fleet.experiment.resolve_attack()
    return (("form of the attack", attack.describe(Knowledge.ATTACKERS)),)
