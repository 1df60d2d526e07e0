"""A prepared fleet as files: what the processes of a run are started from.

They are ordinary configuration files of `pfedfrz coordinator` and `pfedfrz device`: any member of a
run can be started again by hand from what lies in the run's directory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import tomli_w
from numpy.typing import NDArray

from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_protocol import MAX_CLASSES_TOLD, write_bundle
from pfedfrz_storage import write_atomically

from .preparation import PreparedFleet

__all__ = ["FleetFiles", "write_fleet_files"]


@dataclass(frozen=True)
class FleetFiles:
    """Where everything of one run is."""

    directory: Path
    federation: str

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.directory / "model.pfz"

    @property
    def coordinator(self) -> Path:
        """The coordinator's configuration."""
        return self.directory / "coordinator.toml"

    @property
    def journal(self) -> Path:
        """The coordinator's journal."""
        return self.directory / "coordinator" / "journal.sqlite"

    @property
    def attack(self) -> Path:
        """What the attackers are told."""
        return self.directory / "attack.toml"

    @property
    def monitor(self) -> Path:
        """How to watch the run: for `pfedfrz monitor --config`."""
        return self.directory / "monitor.toml"

    def device(self, name: str) -> Path:
        """A device's configuration."""
        return self.directory / "devices" / f"{name}.toml"

    def log(self, name: str) -> Path:
        """What a process of the run says."""
        return self.directory / "logs" / f"{name}.log"


def write_fleet_files(
    fleet: PreparedFleet,
    directory: Path,
    federation: str,
    broker_url: str,
    own_urls: Mapping[str, str] | None = None,
    operators: Mapping[str, str] | None = None,
) -> FleetFiles:
    """Write bundle, data and configurations below `directory`.

    `own_urls` says where members find the broker that have a way of their own to it, `operators`
    by which keys the coordinator knows who may pause and throw out.
    """
    own_urls = own_urls or {}
    files = FleetFiles(directory, federation)
    for folder in ("data", "devices", "logs"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    experiment = fleet.experiment
    write_atomically(files.bundle, write_bundle(fleet.bundle.manifest, fleet.bundle.files))
    tests = {device.quarter_turns: device for device in fleet.devices}
    for turns, device in tests.items():
        x = fleet.test_inputs(device)
        _write_arrays(directory / "data" / _test_file(turns), x, fleet.test_y)
    _write_toml(
        files.coordinator,
        {
            "federation": federation,
            "bundle": "model.pfz",
            "state_dir": "coordinator",
            "broker": own_urls.get("coordinator", broker_url),
            "aggregation": experiment.aggregation,
            "rounds": _chosen(experiment.round_policy()),
            **({"operators": "operators.toml"} if operators else {}),
        },
    )
    if operators:
        _write_toml(directory / "operators.toml", {"operators": dict(operators)})
    if experiment.attackers:
        names = [device.name for device in fleet.devices if device.attacker]
        orders: dict[str, object] = {
            "attack": experiment.attack,
            "attackers": names,
            "collusion": "collusion",
        }
        _write_toml(files.attack, orders)
    manifest = fleet.bundle.manifest
    # A fleet on one machine has no privacy to lose; where nothing can be told, nothing is asked.
    shares = manifest.loss.has_classes and manifest.input.classes <= MAX_CLASSES_TOLD
    for device in fleet.devices:
        _write_arrays(directory / "data" / f"{device.name}.npz", device.train_x, device.train_y)
        _write_toml(
            files.device(device.name),
            {
                "federation": federation,
                "device": device.name,
                "bundle": "../model.pfz",
                "state_dir": f"{device.name}",
                "broker": own_urls.get(device.name, broker_url),
                "runtime": device.runtime,
                "seed": experiment.seed,
                "encoding": experiment.encoding.value,
                "exit_when_stopped": True,
                **({"share_label_mix": True} if shares else {}),
                "data": {
                    "train": f"../data/{device.name}.npz",
                    "test": f"../data/{_test_file(device.quarter_turns)}",
                },
            },
        )
    return files


def _chosen(policy: RoundPolicy) -> dict[str, object]:
    """What is not the default anyway: a person reads this file."""
    default = msgspec.to_builtins(RoundPolicy())
    chosen: dict[str, object] = msgspec.to_builtins(policy)
    return {key: value for key, value in chosen.items() if value != default[key]}


def _test_file(quarter_turns: int) -> str:
    return f"test-turned-{quarter_turns * 90}.npz" if quarter_turns else "test.npz"


def _write_arrays(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    stream = io.BytesIO()
    np.savez(stream, x=x, y=y)
    write_atomically(path, stream.getvalue())


def _write_toml(path: Path, content: dict[str, object]) -> None:
    # 0600: a broker's URL may hold a password.
    write_atomically(path, tomli_w.dumps(content).encode(), mode=0o600)
