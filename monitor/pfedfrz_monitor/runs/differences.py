"""What two runs were told and ran on, and in what that differs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec

from pfedfrz_coordinator.circumstances import read_circumstances
from pfedfrz_coordinator.journal import Journal
from pfedfrz_protocol import Group, Manifest

from .description import RunDescription
from .place import RunPlace

__all__ = ["Difference", "differences", "told_of"]

Told = dict[str, dict[str, str]]
"""Values by name, in the groups asked, coordinator, bundle and environment."""


@dataclass(frozen=True)
class Difference:
    """One setting that is not the same; None where a run was not told, or nobody knows."""

    group: str
    name: str
    first: str | None
    second: str | None


def told_of(place: RunPlace) -> Told:
    """Everything that a run was told, as far as it was written down.

    OperationError when a file is damaged.
    """
    description = RunDescription.load(place.directory)
    with closing(Journal(place.journal, read_only=True)) as journal:
        circumstances, manifest = read_circumstances(journal)
        digest = journal.fact("bundle")
    told: Told = {"asked": {}, "coordinator": {}, "bundle": {}, "environment": {}}
    if description is not None:
        told["asked"] = _flat(description.asked)
        told["environment"] = dict(description.environment)
    if circumstances is not None:
        content = msgspec.to_builtins(circumstances)
        environment = content.pop("environment")
        # An emulated federation has another name in every run, and its broker another port.
        for name in ("federation", "broker") if description else ():
            content.pop(name)
        told["coordinator"] = _flat({**content, **content.pop("further")})
        told["environment"] = told["environment"] or environment
    told["bundle"] = {**({"digest": digest} if digest else {}), **_bundle(manifest)}
    return told


def differences(first: Told, second: Told) -> list[Difference]:
    """What is not the same, in the order of groups and names."""
    found = []
    for group in first:
        ours, theirs = first[group], second.get(group, {})
        for name in dict.fromkeys((*ours, *theirs)):
            if ours.get(name) != theirs.get(name):
                found.append(Difference(group, name, ours.get(name), theirs.get(name)))
    return found


def _bundle(manifest: Manifest | None) -> dict[str, str]:
    if manifest is None:
        return {}
    weights = {
        f"{group.value} weights": f"{sum(spec.elements for spec in manifest.layout(group))} in "
        + ", ".join(spec.name for spec in manifest.layout(group))
        for group in Group
    }
    phases = {
        f"{kind} {number}": ", ".join(f"{k}={v}" for k, v in _flat(phase).items())
        for kind, of_kind in (
            ("phase", manifest.schedule.phases),
            ("evaluation phase", manifest.schedule.evaluation_phases),
        )
        for number, phase in enumerate(map(msgspec.to_builtins, of_kind), 1)
    }
    return {
        "model": manifest.model,
        "method": manifest.schedule.method,
        "personal": ", ".join(manifest.personal_patterns),
        "runtimes": ", ".join(manifest.runtimes),
        **weights,
        **phases,
    }


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{before}{name}."))
        elif isinstance(value, (list, tuple)):
            flat[f"{before}{name}"] = ", ".join(map(str, value))
        else:
            flat[f"{before}{name}"] = str(value)
    return flat
