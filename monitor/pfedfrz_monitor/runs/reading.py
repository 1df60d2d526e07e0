"""A run as a record, from its journal and whatever else is known of it; nothing is written.

What is unknown stays unknown: of real boards nobody knows who attacks or which dataset it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace

from pfedfrz_coordinator.circumstances import Circumstances, read_circumstances
from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_coordinator.journal import DeviceRow, Journal, RoundRow
from pfedfrz_coordinator.registry import RegistryRow, Standing, read_registry
from pfedfrz_protocol import Manifest, PfedfrzError, Phase, Purpose
from pfedfrz_storage import is_locked, read_bundle_file
from pfedfrz_transport import BrokerAddress

from ..report.records import (
    Closing,
    DeviceRecord,
    Moment,
    Part,
    Refusal,
    RoundRecord,
    RunRecord,
    RunSettings,
    RunState,
)
from .description import DescribedDevice, RunDescription
from .place import RunPlace

__all__ = ["read_record", "record_of", "state_of"]

Members = Mapping[int, Mapping[str, DeviceRow]]


def read_record(place: RunPlace) -> RunRecord:
    """The run at `place`, also while it goes on. OperationError when a file is damaged."""
    description = RunDescription.load(place.directory)
    running = is_locked(place.state_dir)
    with closing(Journal(place.journal, read_only=True)) as journal:
        journal.hold_still()
        circumstances, manifest = read_circumstances(journal)
        if circumstances is None:
            circumstances = _configured(place)
        if manifest is None:
            manifest = _bundle(place, journal)
        registry = {} if description else read_registry(place.state_dir)
        record = record_of(journal, description, circumstances, manifest, registry)
    if record.state is not RunState.FINISHED and running:
        record = replace(record, state=RunState.RUNNING)
    return record


def _configured(place: RunPlace) -> Circumstances | None:
    """What the configuration says, for a journal of a version that did not write it down."""
    if place.configuration is None:
        return None
    told = load_coordinator_settings(place.configuration)
    broker = str(BrokerAddress.parse(told.broker))
    return Circumstances(told.federation, broker, told.aggregation, told.rounds)


def _bundle(place: RunPlace, journal: Journal) -> Manifest | None:
    """The bundle's manifest, where the configured bundle is still the journal's."""
    if place.configuration is None:
        return None
    try:
        manifest = read_bundle_file(load_coordinator_settings(place.configuration).bundle).manifest
    except PfedfrzError:
        return None  # it may have moved; the report leaves out what it would have said
    return manifest if manifest.digest == journal.fact("bundle") else None


def record_of(
    journal: Journal,
    description: RunDescription | None = None,
    circumstances: Circumstances | None = None,
    manifest: Manifest | None = None,
    registry: Mapping[str, RegistryRow] | None = None,
) -> RunRecord:
    """The record of what the journal holds; a round that is open is not in it."""
    rows = journal.rounds()
    closed = [row for row in rows if row.closed_at is not None]
    members = {row.number: {m.device: m for m in journal.members(row.number)} for row in closed}
    trained = [row for row in closed if row.purpose is Purpose.TRAIN]
    evaluated = [row for row in closed if row.purpose is Purpose.EVALUATE]
    # An evaluation before the last round of training closes nothing: more rounds were asked for.
    last = evaluated[-1] if evaluated and evaluated[-1] is closed[-1] else None
    if description is not None:
        known = description.devices
        settings = description.settings
    else:
        waiting = {m.device for row in rows if row.closed_at is None
                   for m in journal.members(row.number)}  # fmt: skip
        known = _devices(members.values(), waiting, registry or {})
        settings = _settings(len(known), circumstances, manifest)
    benign = frozenset(device.name for device in known if not device.attacker)
    began = rows[0].opened_at if rows else 0.0
    devices = tuple(
        DeviceRecord(
            device.name,
            device.attacker,
            device.samples,
            device.label_mix,
            _accuracies(members, trained, device.name, Moment.RECEIVED),
            _accuracies(members, trained, device.name, Moment.LOCAL),
            tuple(_part(row, members[row.number].get(device.name)) for row in trained),
            _standing((registry or {}).get(device.name)),
        )
        for device in known
    )
    return RunRecord(
        settings,
        devices,
        tuple(_round(row, members[row.number], benign, began) for row in trained),
        _wall_s(rows, description),
        {reason.value: count for reason, count in journal.rejects().items()},
        _closing(last, members[last.number], devices) if last else None,
        (*(description.notes if description else ()), *journal.notes()),
        description.faults if description else {},
        tuple(
            Refusal(r.round, r.device, r.reason.value, r.detail, r.payload_bytes, r.at)
            for r in journal.reject_rows()
        ),
        state_of(journal, circumstances, settings.rounds),
        _environment(description, circumstances),
    )


def state_of(
    journal: Journal, circumstances: Circumstances | None = None, rounds: int | None = None
) -> RunState:
    """Whether the rounds are over, of which `rounds` of training were wanted; never RUNNING, which
    a journal cannot tell.
    """
    rows = journal.rounds(with_metrics=False)
    if rounds is None and circumstances is not None:
        rounds = circumstances.rounds.rounds
    if not rows or any(row.closed_at is None for row in rows):
        return RunState.INTERRUPTED
    trained = sum(row.purpose is Purpose.TRAIN for row in rows)
    if rows[-1].purpose is Purpose.EVALUATE:
        return RunState.FINISHED if trained >= (rounds or 0) else RunState.INTERRUPTED
    ends_without = circumstances is not None and not circumstances.rounds.evaluate
    over = ends_without and rounds is not None and trained >= rounds
    return RunState.FINISHED if over else RunState.INTERRUPTED


def _wall_s(rows: list[RoundRow], description: RunDescription | None) -> float:
    if description is not None and description.wall_s is not None:
        return description.wall_s
    ends = [row.closed_at for row in rows if row.closed_at is not None]
    return max(0.0, max(ends) - rows[0].opened_at) if ends else 0.0


def _environment(
    description: RunDescription | None, circumstances: Circumstances | None
) -> Mapping[str, str]:
    if description is not None and description.environment:
        return description.environment
    return circumstances.environment if circumstances else {}


def _devices(
    members: Iterable[Mapping[str, DeviceRow]],
    waiting: set[str],
    registry: Mapping[str, RegistryRow],
) -> tuple[DescribedDevice, ...]:
    """Everybody who was ever asked, or is known to the coordinator; samples as last reported."""
    samples = dict.fromkeys((*registry, *waiting), 0)
    for of_round in members:
        for name, member in of_round.items():
            told = member.report.samples if member.report else member.samples
            samples[name] = told or samples.get(name, 0)
    return tuple(DescribedDevice(name, False, samples[name], ()) for name in sorted(samples))


def _standing(row: RegistryRow | None) -> str:
    if row is None or row.standing is Standing.ENROLLED:
        return ""
    return f"{row.standing.value}: {row.reason}" if row.reason else row.standing.value


def _accuracy(member: DeviceRow | None, moment: Moment) -> float | None:
    report = member.report if member else None
    if report is None:
        return None
    return report.received if moment is Moment.RECEIVED else report.local


def _accuracies(
    members: Members, rows: list[RoundRow], name: str, moment: Moment
) -> tuple[float | None, ...]:
    return tuple(_accuracy(members[row.number].get(name), moment) for row in rows)


def _part(row: RoundRow, member: DeviceRow | None) -> Part | None:
    if member is None:
        return None
    report = member.report
    return Part(
        member.status,
        member.norm,
        _cosine(row, member),
        member.payload_bytes,
        report.downloaded_bytes if report else 0,
        report.train_s if report else 0.0,
        report.evaluate_s if report else 0.0,
        report.loss if report else None,
        member.stale,
    )


def _cosine(row: RoundRow, member: DeviceRow) -> float | None:
    if member.cosine is None and row.metrics is not None:
        return row.metrics.update_cosines.get(member.device)
    return member.cosine


def _round(
    row: RoundRow, members: Mapping[str, DeviceRow], benign: frozenset[str], began: float
) -> RoundRecord:
    metrics = row.metrics
    reports = [member.report for member in members.values() if member.report]
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
        missing=metrics.missing if metrics else 0,
        train_s=sum(report.train_s for report in reports),
        evaluate_s=sum(report.evaluate_s for report in reports),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )


def _closing(
    row: RoundRow, members: Mapping[str, DeviceRow], devices: tuple[DeviceRecord, ...]
) -> Closing:
    received, local = (
        tuple(_accuracy(members.get(device.device), moment) for device in devices)
        for moment in Moment
    )
    metrics = row.metrics
    return Closing(
        received,
        local,
        metrics.uplink_bytes if metrics else 0,
        metrics.downlink_bytes if metrics else 0,
    )


def _settings(
    devices: int, circumstances: Circumstances | None, manifest: Manifest | None
) -> RunSettings:
    """What a coordinator knows of its own federation."""
    rounds = circumstances.rounds if circumstances else None
    details: list[tuple[str, str]] = []
    if circumstances is not None and rounds is not None:
        details.append(("aggregation", circumstances.aggregation))
        details += [("buffer", str(rounds.buffer))] if rounds.buffer else []
        details += [("participants", str(rounds.participants))] if rounds.participants else []
        details.append(("deadline", f"{rounds.deadline_s:g} s"))
    if manifest is not None:
        details.append(("bundle", f"{manifest.digest[:12]}\N{HORIZONTAL ELLIPSIS}"))
        steps = enumerate(manifest.schedule.phases, 1)
        details += [(f"phase {number}", _phase(phase)) for number, phase in steps]
    return RunSettings(
        method=manifest.schedule.method if manifest else None,
        dataset=None,
        alpha=None,
        model=manifest.model if manifest else None,
        personal=", ".join(manifest.personal_patterns) if manifest else None,
        devices=devices,
        attackers=None,
        attack=None,
        rounds=rounds.rounds if rounds else None,
        seed=rounds.seed if rounds else None,
        runtime=None,
        broker=circumstances.broker if circumstances else None,
        command="",
        faults=None,
        federation=circumstances.federation if circumstances else "",
        details=tuple(details),
    )


def _phase(phase: Phase) -> str:
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    return f"{phase.trainable.value}, {epochs}, learning rate {phase.learning_rate:g}"
