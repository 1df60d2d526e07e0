"""Everything about one device on one board, whether it runs or not; it is only read, never changed.

What only the running process knows comes from its status file, and everything else from where it is
kept: so a device that does not run is shown as well.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import msgspec

from pfedfrz_protocol import PfedfrzError

from ..bundle_in_use import bundle_that_runs
from ..conditions import SystemFiles, watch_conditions
from ..configuration import DeviceSettings, load_device_settings
from ..sealed_versions import SealedVersions
from ..trust import CoordinatorTrust
from .round_history import RoundHistory, RoundRecord
from .running_status import RunningStatus, read_status

__all__ = ["BundleFacts", "ConditionFacts", "FileFacts", "Overview", "look_at_device"]

_OF_THE_PROCESS = ("idle",)
"""Rules that only the device's own process can measure: they leave out what it uses itself."""


class BundleFacts(msgspec.Struct, frozen=True):
    """The bundle that the device runs."""

    file: str
    model: str = ""
    digest: str = ""
    fault: str = ""
    """Why it cannot be used."""


class FileFacts(msgspec.Struct, frozen=True):
    """A kept file of weights."""

    file: str
    bytes: int
    saved_at: float
    """Unix seconds."""


class ConditionFacts(msgspec.Struct, frozen=True):
    """One rule of `[conditions]`."""

    name: str
    value: str


class Overview(msgspec.Struct, frozen=True):
    """What there is to know of a device; times are Unix seconds, None is what is not known."""

    federation: str
    device: str
    broker: str
    state_dir: str
    taken_at: float
    running: bool
    process: RunningStatus | None
    """What the process said last, also when it runs no more."""
    coordinator_key: str | None
    coordinator_key_configured: bool
    bundle: BundleFacts
    rounds: tuple[RoundRecord, ...]
    """Oldest first."""
    conditions: tuple[ConditionFacts, ...]
    personal: FileFacts | None
    model: FileFacts | None
    """The model in use, of the last training."""
    faults: tuple[str, ...]
    """What could not be read, in one line each."""
    disk_free_bytes: int | None
    state_bytes: int
    process_memory_bytes: int | None
    machine_memory_bytes: int | None
    available_memory_bytes: int | None

    @property
    def waiting_for(self) -> str:
        """Why the running device does not train now; empty when it may, or does not run."""
        return self.process.waiting_for if self.running and self.process else ""


def look_at_device(
    configuration: Path, *, files: SystemFiles | None = None, rounds: int = 5
) -> Overview:
    """The overview of the device that `configuration` describes, with its last `rounds`.

    Raises ConfigurationError for a configuration that cannot be used; what else cannot be read is
    among the faults.
    """
    settings = load_device_settings(configuration)
    files = files or SystemFiles()
    state_dir = settings.state_dir
    faults = list[str]()
    status: RunningStatus | None = None
    key = settings.coordinator_key
    try:
        status = read_status(state_dir)
        key = CoordinatorTrust(state_dir, settings.federation, settings.coordinator_key).key
    except PfedfrzError as error:
        faults.append(str(error))
    running = status is not None and status.process.is_alive
    watch = watch_conditions(settings.conditions, files)
    watch.look()
    said = status.conditions if status is not None and running else {}
    conditions = tuple(
        ConditionFacts(
            name, said.get(name, "measured while the device runs") if name in _OF_THE_PROCESS
            else value,
        )
        for name, value in watch.values.items()
    )  # fmt: skip
    bundle, home = _look_at_bundle(settings)
    history = RoundHistory(state_dir).records
    memory = files.text("proc/meminfo") or ""
    own = files.text(f"proc/{status.process.pid}/status") if status and running else None
    return Overview(
        federation=settings.federation,
        device=settings.device,
        broker=settings.broker.rpartition("@")[2] if "@" in settings.broker else settings.broker,
        state_dir=str(state_dir),
        taken_at=time.time(),
        running=running,
        process=status,
        coordinator_key=key,
        coordinator_key_configured=settings.coordinator_key is not None,
        bundle=bundle,
        rounds=history[-rounds:] if rounds else (),
        conditions=conditions,
        personal=_newest(home, "personal"),
        model=_newest(home, "model"),
        faults=tuple(faults),
        disk_free_bytes=_free_bytes(state_dir),
        state_bytes=_size_of(state_dir),
        process_memory_bytes=_kibibytes(own or "", "VmRSS"),
        machine_memory_bytes=_kibibytes(memory, "MemTotal"),
        available_memory_bytes=_kibibytes(memory, "MemAvailable"),
    )


def _look_at_bundle(settings: DeviceSettings) -> tuple[BundleFacts, Path]:
    """The bundle that runs, and where its stores are."""
    try:
        running = bundle_that_runs(settings)
    except PfedfrzError as error:
        return BundleFacts(str(settings.bundle), fault=str(error)), settings.state_dir
    manifest = running.bundle.manifest
    return BundleFacts(str(running.path), manifest.model, manifest.digest), running.home


def _newest(home: Path, kind: str) -> FileFacts | None:
    for path in SealedVersions(home, kind).files():
        try:
            facts = path.stat()
        except OSError:  # a newer one has come in its place
            continue
        return FileFacts(str(path), facts.st_size, facts.st_mtime)
    return None


def _free_bytes(directory: Path) -> int | None:
    existing = next((path for path in (directory, *directory.parents) if path.exists()), None)
    return None if existing is None else shutil.disk_usage(existing).free


def _size_of(directory: Path) -> int:
    total = 0
    for path in directory.glob("**/*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:  # it was there a moment ago
            continue
    return total


def _kibibytes(text: str, name: str) -> int | None:
    """A row such as `VmRSS:  1234 kB`, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else None
