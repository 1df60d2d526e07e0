"""What must hold after a run with kills, as a list of what does not."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from pfedfrz_coordinator.flat import flatten
from pfedfrz_coordinator.journal import DeviceRow, Journal
from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_protocol import (
    Bundle,
    Group,
    Parameters,
    Purpose,
    SharedCodec,
    open_tensors,
    tensors_digest,
)
from pfedfrz_storage import load_tensors

from .run import Outcome
from .witness import Witness

__all__ = ["check_run"]

_TOLERANCE = 1e-6


def check_run(outcome: Outcome, witness: Witness) -> list[str]:
    """Everything that is wrong, a line each; empty when every promise was kept."""
    return [
        *_journal(outcome, witness),
        *_models(outcome, witness),
        *_personal(outcome, witness),
        *_leftovers(outcome),
        *witness.faults,
    ]


def _journal(outcome: Outcome, witness: Witness) -> Iterator[str]:
    db = sqlite3.connect(outcome.files.journal)
    verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
    rows = db.execute("SELECT number, closed_at FROM rounds ORDER BY number").fetchall()
    db.close()
    if verdict != "ok":
        yield f"journal: {verdict}"
    numbers = [number for number, _ in rows]
    if numbers != list(range(1, len(rows) + 1)):
        yield f"journal: the rounds are {numbers}"
    yield from (f"round {number} was never closed" for number, closed in rows if closed is None)
    said = re.findall(r"round (\d+) closed: ", outcome.files.log("coordinator").read_text())
    yield from (
        f"round {number} was closed {count} times"
        for number, count in Counter(said).items()
        if count > 1
    )
    if witness.announced != sorted(witness.announced):
        yield f"announcements went back: {witness.announced}"


def _models(outcome: Outcome, witness: Witness) -> Iterator[str]:
    """Every model is the mean of exactly the updates that were accepted, each once."""
    bundle = outcome.fleet.bundle
    kept = _kept_models(witness.folder / "models")
    updates = _kept_updates(witness.folder / "updates")
    journal = Journal(outcome.files.journal, read_only=True)
    try:
        rows = [row for row in journal.rounds() if row.purpose is Purpose.TRAIN]
        for row in rows:
            number = row.number
            members = {m.device: m for m in journal.members(number)}
            counted = {d: m for d, m in members.items() if m.status == "accepted"}
            for device in sorted(witness.told[number] - set(counted)):
                yield f"round {number}: {device} was told that it is accepted, and was not counted"
            if len(witness.digests[number]) > 1:
                yield f"model {number} was announced with several digests"
            base, models = kept.get(number - 1), kept.get(number)
            if not base or not models:
                yield f"model {number - 1} or {number} was never seen on the disk"
                continue
            # Written again after a kill, it is the last that was announced.
            if witness.digests[number] and {tensors_digest(models[-1])} != witness.digests[number]:
                yield f"model {number} on the disk is not the one that was announced"
            yield from _is_mean(bundle, number, base[-1], models[-1], counted, updates[number])
    finally:
        journal.close()


def _is_mean(
    bundle: Bundle,
    number: int,
    base: Parameters,
    model: Parameters,
    counted: dict[str, DeviceRow],
    updates: dict[str, list[PendingUpdate]],
) -> Iterator[str]:
    codec = SharedCodec.for_manifest(bundle.manifest)
    layout = bundle.manifest.layout(Group.SHARED)
    start = flatten(base, layout).astype(np.float64)
    total, weight = np.zeros_like(start), 0.0
    for device, row in counted.items():
        # A device that was killed may have trained more than once: the norm says what was counted.
        steps = [
            flatten(codec.decode(open_tensors(update.payload).payload, base)[1], layout).astype(
                np.float64
            )
            - start
            for update in updates.get(device, [])
            if update.base == tensors_digest(base)
        ]
        fits = [s for s in steps if row.norm and abs(np.linalg.norm(s) / row.norm - 1) < 1e-5]
        if not fits:
            yield f"round {number}: {device} was counted with an update that it never kept"
            return
        total += row.samples * fits[-1]
        weight += row.samples
    wrong = np.abs(start + total / weight - flatten(model, layout)).max() if weight else np.inf
    if wrong > _TOLERANCE:
        yield f"model {number} is not the mean of its {len(counted)} updates: off by {wrong:g}"


def _kept_models(folder: Path) -> dict[int, list[Parameters]]:
    """Version -> every content that its file has had, the oldest first."""
    kept = defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns):
        version = int(path.name.partition(".")[0].rpartition("-")[2])
        kept[version].append(load_tensors(path)[0])
    return kept


def _kept_updates(folder: Path) -> dict[int, dict[str, list[PendingUpdate]]]:
    kept: dict[int, dict[str, list[PendingUpdate]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("[0-9]*"), key=lambda p: p.stat().st_mtime_ns):
        number, device, *_ = path.name.split(".")
        update = msgspec.msgpack.decode(path.read_bytes(), type=PendingUpdate)
        kept[int(number)][device].append(update)
    return kept


def _personal(outcome: Outcome, witness: Witness) -> Iterator[str]:
    """What a device begins with is the last that it finished saving, or was just saving.

    A broker that was killed may bring back the announcement of an earlier round. A device that
    takes it for the present trains in vain until the coordinator speaks; it does so with its newest
    weights, so that nothing is lost, and such rounds are counted.
    """
    outcome.stale_rounds = 0
    for device in outcome.fleet.devices:
        saving = saved = (0, 0)
        for line in (witness.folder / f"{device.name}.personal").read_text().splitlines():
            what, number, phase = line.split()
            place = (int(number), int(phase))
            if what == "saving":
                if place[0] < saved[0]:
                    outcome.stale_rounds += 1
                saving = place
            elif what == "saved":
                saved = place
            elif place not in (saved, saving):
                yield f"{device.name}: saved {saved}, saving {saving}, found {place}"
        witness.look_at_personal(device.name)


def _leftovers(outcome: Outcome) -> Iterator[str]:
    for path in outcome.files.directory.rglob("*.partial-*"):
        yield f"{path.relative_to(outcome.files.directory)} was left behind"
