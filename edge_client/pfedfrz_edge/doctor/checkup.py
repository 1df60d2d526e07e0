"""The whole examination of a board."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from pfedfrz_protocol import Bundle, Group
from pfedfrz_storage import read_bundle_file
from pfedfrz_transport import BrokerAccess, BrokerUnreachable, probe_broker

from .findings import BrokerFinding, ClockFinding, DiskFinding, RuntimeFinding
from .prognosis import Prognosis, group_bytes, predict_round

__all__ = ["Checkup", "check_board"]

_PROBE_S = 300.0
_BROKER_S = 5.0
_RELEASED = datetime(2026, 1, 1, tzinfo=timezone.utc)
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
_SLACK_BYTES = 1 << 20


class Checkup(msgspec.Struct, frozen=True):
    """Everything that was found, and what follows for a round."""

    bundle: str
    model: str
    runtimes: tuple[RuntimeFinding, ...]
    rounds: tuple[Prognosis, ...]
    """One for each runtime that works."""
    disk: DiskFinding
    clock: ClockFinding
    broker: BrokerFinding | None
    """None when no broker was named."""

    @property
    def faults(self) -> list[str]:
        """Why this board cannot take part; empty when it can."""
        faults: list[str] = []
        if not any(finding.works for finding in self.runtimes):
            reasons = "; ".join(f"{f.runtime}: {f.fault}" for f in self.runtimes)
            faults.append(f"no runtime of the bundle works here ({reasons})")
        if not self.disk.suffices:
            faults.append(
                f"{self.disk.directory} has {self.disk.free_bytes} bytes free, the device needs "
                f"{self.disk.needed_bytes}"
            )
        if self.broker and self.broker.fault:
            faults.append(self.broker.fault)
        if not self.clock.plausible:
            faults.append(f"the clock says {self.clock.now}: set it (TLS would fail)")
        return faults


def check_board(
    path: Path,
    *,
    state_dir: Path,
    samples: int,
    test_samples: int,
    broker: BrokerAccess | None = None,
    only: Sequence[str] = (),
    compute_device: str = "auto",
) -> Checkup:
    """Examine this board for the bundle at `path`; a fault is a finding and does not raise.

    `only` names the runtimes to measure, all that the bundle has by default, and `compute_device`
    what they are to compute on, as in a device's configuration. Raises ConfigurationError for a
    bundle that cannot be read.
    """
    bundle = read_bundle_file(path)
    names = tuple(only) or tuple(bundle.manifest.runtimes)
    runtimes = tuple(_probe(path, name, compute_device) for name in names)
    shared = bundle.initial_weights(Group.SHARED)
    rounds = tuple(
        predict_round(bundle.manifest, finding, shared, samples, test_samples)
        for finding in runtimes
        if finding.works
    )
    return Checkup(
        bundle=bundle.manifest.digest,
        model=bundle.manifest.model,
        runtimes=runtimes,
        rounds=rounds,
        disk=_look_at_disk(state_dir, bundle),
        clock=_look_at_clock(),
        broker=_look_at_broker(broker) if broker else None,
    )


def _probe(path: Path, runtime: str, device: str) -> RuntimeFinding:
    command = [sys.executable, "-m", f"{__package__}.probe", str(path), runtime, device]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return RuntimeFinding(runtime, fault=f"not a step within {_PROBE_S:.0f} s")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1] if said else "it said nothing"
        code = done.returncode
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return RuntimeFinding(runtime, fault=f"the runtime's process was {how}: {last}")
    try:
        return msgspec.json.decode(done.stdout, type=RuntimeFinding)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return RuntimeFinding(runtime, fault=f"the runtime's process did not report ({error})")


def _look_at_disk(state_dir: Path, bundle: Bundle) -> DiskFinding:
    existing = state_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    personal = group_bytes(bundle.manifest, Group.PERSONAL)
    shared = group_bytes(bundle.manifest, Group.SHARED)
    # Of the personal weights and of the model in use, two are kept while a third is written.
    needed = 3 * personal + 2 * shared + 3 * (personal + shared) + _SLACK_BYTES
    return DiskFinding(str(state_dir), shutil.disk_usage(existing).free, needed)


def _look_at_clock() -> ClockFinding:
    now = datetime.now(timezone.utc)
    told = _SYNCHRONIZED.parent.is_dir()
    return ClockFinding(
        now.isoformat(timespec="seconds"),
        now > _RELEASED,
        _SYNCHRONIZED.exists() if told else None,
    )


def _look_at_broker(access: BrokerAccess) -> BrokerFinding:
    start = time.perf_counter()
    try:
        probe_broker(access.address, timeout_s=_BROKER_S, options=access.options)
    except BrokerUnreachable as error:
        return BrokerFinding(str(access.address), fault=str(error))
    return BrokerFinding(str(access.address), connect_s=time.perf_counter() - start)
