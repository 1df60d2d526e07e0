"""What is known of a run beside its journal: for run.json, and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

import msgspec

from pfedfrz_coordinator.circumstances import environment
from pfedfrz_coordinator.journal import Journal
from pfedfrz_monitor.report import RunRecord, RunSettings
from pfedfrz_monitor.runs import DescribedDevice, RunDescription, record_of

from .attacks import Knowledge
from .preparation import PreparedFleet

__all__ = ["RunCircumstances", "describe_run", "make_run_record"]


@dataclass(frozen=True)
class RunCircumstances:
    """What the journal does not know of a run."""

    broker: str
    command: str
    started_at: str
    wall_s: float | None = None
    """None while it goes on."""
    notes: tuple[str, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    """What went wrong on purpose, by kind."""


def describe_run(fleet: PreparedFleet, circumstances: RunCircumstances) -> RunDescription:
    """What is written beside the run's journal."""
    experiment = fleet.experiment
    split = experiment.resolve_split().name
    return RunDescription(
        _settings(fleet, circumstances),
        tuple(
            DescribedDevice(
                device.name,
                device.attacker,
                len(device.train_y),
                tuple(float(share) for share in fleet.label_mix[index]),
            )
            for index, device in enumerate(fleet.devices)
        ),
        {**msgspec.to_builtins(experiment), "split": split},
        {**environment(), "torch": metadata.version("torch")},
        (*fleet.notes, *circumstances.notes),
        dict(circumstances.faults),
        circumstances.wall_s,
    )


def make_run_record(
    fleet: PreparedFleet, journal: Journal, circumstances: RunCircumstances
) -> RunRecord:
    """The record of a run that has ended, early or not."""
    return record_of(journal, describe_run(fleet, circumstances))


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
