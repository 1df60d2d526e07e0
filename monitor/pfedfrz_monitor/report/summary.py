"""summary.json: the run in one object, for programs."""

from __future__ import annotations

import json
import math
from typing import TypedDict

from .records import Moment, RunRecord
from .spread import final_accuracy

__all__ = ["Summary", "encode_summary", "summarize"]


class AccuracySummary(TypedDict):
    """Personalised accuracy over benign devices, shares from 0 to 1; None where not measured."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    devices: int
    measured: str


class UpdatesSummary(TypedDict):
    """Updates of the whole run."""

    accepted: int
    rejected: dict[str, int]


class BytesSummary(TypedDict):
    """Bytes of the whole run."""

    uplink: int
    downlink: int


class FaultsSummary(TypedDict):
    """What went wrong on purpose."""

    profile: str | None
    injected: dict[str, int]


class Summary(TypedDict):
    """The content of summary.json; None, or nothing in a list, for what nobody knows."""

    format: int
    method: str | None
    dataset: str | None
    dataset_source: str
    alpha: float | None
    model: str | None
    personal: str | None
    devices: int
    attackers: int | None
    attacker_devices: list[str]
    attack: str | None
    rounds: int | None
    rounds_completed: int
    seed: int | None
    runtime: str | None
    broker: str | None
    accuracy: dict[str, AccuracySummary]
    updates: UpdatesSummary
    bytes: BytesSummary
    faults: FaultsSummary
    wall_s: float
    started_at: str
    details: dict[str, str]
    notes: list[str]
    command: str
    federation: str
    state: str
    environment: dict[str, str]


def summarize(record: RunRecord) -> Summary:
    """The summary of a run."""
    settings = record.settings
    return Summary(
        format=1,
        method=settings.method,
        dataset=settings.dataset,
        dataset_source=settings.dataset_source,
        alpha=settings.alpha,
        model=settings.model,
        personal=settings.personal,
        devices=settings.devices,
        attackers=settings.attackers,
        attacker_devices=[device.device for device in record.devices if device.attacker],
        attack=settings.attack,
        rounds=settings.rounds,
        rounds_completed=len(record.rounds),
        seed=settings.seed,
        runtime=settings.runtime,
        broker=settings.broker,
        accuracy={moment.value: _accuracy(record, moment) for moment in Moment},
        updates=UpdatesSummary(
            accepted=record.accepted, rejected=dict(sorted(record.rejected.items()))
        ),
        bytes=BytesSummary(uplink=record.uplink_bytes, downlink=record.downlink_bytes),
        faults=FaultsSummary(profile=settings.faults, injected=dict(record.faults)),
        wall_s=round(record.wall_s, 3) if math.isfinite(record.wall_s) else 0.0,
        started_at=settings.started_at,
        details=dict(settings.details),
        notes=list(record.notes),
        command=settings.command,
        federation=settings.federation,
        state=record.state.value,
        environment=dict(record.environment),
    )


def encode_summary(record: RunRecord) -> bytes:
    """summary.json; strict JSON, so a number that is not finite would be an error here."""
    text = json.dumps(summarize(record), indent=2, ensure_ascii=False, allow_nan=False)
    # A path may hold bytes that are no text: as \udcXX they are still valid JSON.
    return (text + "\n").encode("utf-8", "backslashreplace")


def _accuracy(record: RunRecord, moment: Moment) -> AccuracySummary:
    final = final_accuracy(record, moment)
    spread = final.spread
    return AccuracySummary(
        mean=spread.mean if spread else None,
        std=spread.std if spread else None,
        min=spread.min if spread else None,
        max=spread.max if spread else None,
        devices=spread.devices if spread else 0,
        measured=final.when,
    )
