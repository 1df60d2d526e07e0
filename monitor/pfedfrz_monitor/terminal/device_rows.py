"""Devices as rows: what is shown of one, who comes first, and who is looked for."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from pfedfrz_protocol import Presence
from pfedfrz_protocol.one_line import one_line

from ..device_view import DeviceView, Stage, Standing
from ..readable import share
from ..round_view import Outcome, RoundView
from ..view import FederationView
from .pieces import Line, Tone, meter, sparkline
from .row_table import Column

__all__ = ["DEVICE_COLUMNS", "DeviceRow", "Order", "device_row", "draw_device", "ordered"]

ROUNDS_BACK = 24
_LONGEST_LABEL = 60
_SortKey: TypeAlias = tuple[object, ...]

# The lower the rank, the longer a column stays when it gets narrow.
DEVICE_COLUMNS = (
    Column("device", "device", 14, rank=0, grows=26),
    Column("now", "now", 11, rank=1, grows=13),
    Column("received", "rcvd %", 6, rank=5, right=True),
    Column("local", "local %", 7, rank=2, right=True),
    Column("trend", "local by round", 14, rank=4, grows=10),
    Column("norm", "norm", 7, rank=6, right=True),
    Column("cosine", "cosine", 6, rank=3, right=True),
    Column("verdicts", "ok/no", 7, rank=7, right=True),
    Column("samples", "samples", 7, rank=8, right=True),
)


class Order(str, enum.Enum):
    """What the devices are sorted by; the first that are shown are those to look at."""

    NAME = "name"
    TROUBLE = "trouble"
    LOCAL = "local accuracy"
    COSINE = "cosine"
    STAGE = "stage"

    @property
    def following(self) -> Order:
        """The next one, round and round."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


@dataclass(frozen=True)
class DeviceRow:
    """One device in one moment."""

    name: str
    label: str = ""
    presence: Presence = Presence.OFFLINE
    standing: Standing = Standing.ENROLLED
    stage: Stage = Stage.IDLE
    progress: float = 0.0
    received: float | None = None
    local: float | None = None
    trend: tuple[float | str | None, ...] = ()
    norm: float | None = None
    cosine: float | None = None
    opposes: bool = False
    samples: int = 0
    accepted: int = 0
    rejected: int = 0
    detail: str = ""
    """For the line below the table: what there is to say about it."""


def device_row(
    view: FederationView, name: str, labels: Mapping[str, str], rounds: Sequence[RoundView]
) -> DeviceRow:
    """What is shown of a device; `rounds` are the last ones, oldest first."""
    device = view.devices[name]
    latest = device.latest
    trend: list[float | str | None] = []
    norm = cosine = None
    for here in rounds:
        cell = here.cells.get(name)
        if cell is None:
            trend.append(None)
        elif cell.outcome in (Outcome.REJECTED, Outcome.FAILED):
            trend.append(cell.outcome.value)
        else:
            trend.append(cell.report.local if cell.report else None)
        if cell is not None and cell.norm is not None:
            norm, cosine = cell.norm, cell.cosine
    is_now = view.announcement is not None and device.stage_round == view.announcement.round
    return DeviceRow(
        name,
        one_line(labels.get(name, ""), _LONGEST_LABEL),
        device.presence,
        device.standing,
        device.stage if is_now or device.stage in (Stage.REJECTED, Stage.FAILED) else Stage.IDLE,
        device.progress,
        latest.received if latest else None,
        device.last_local,
        tuple(trend),
        norm,
        cosine,
        device.opposes,
        device.samples,
        device.updates_accepted,
        device.updates_rejected + device.failures,
        _detail(device),
    )


def _detail(device: DeviceView) -> str:
    said = []
    if device.opposes:
        said.append("keeps pulling against the others")
    if device.standing is not Standing.ENROLLED:
        said.append(f"{device.standing.value}{f': {device.refusal}' if device.refusal else ''}")
    if device.presence is Presence.WAITING:
        said.append(f"waits: {device.waiting_for}")
    elif device.presence is Presence.OFFLINE:
        said.append("offline")
    if device.doing:
        said.append(device.doing)
    if device.runtime:
        said.append(device.runtime)
    if device.train_s:
        said.append(f"trained {device.train_s:.0f} s")
    return ", ".join(said) or "nothing is known of it yet"


# How one is drawn


_MARKS = {
    Presence.ONLINE: ("●", Tone.GOOD),
    Presence.WAITING: ("◐", Tone.WARN),
    Presence.OFFLINE: ("○", Tone.BAD),
}
_STAGE_TONES = {
    Stage.IDLE: Tone.DIM,
    Stage.SELECTED: Tone.DIM,
    Stage.TRAINING: Tone.WORK,
    Stage.READY: Tone.LOCAL,
    Stage.UPLOADING: Tone.LOCAL,
    Stage.ACCEPTED: Tone.GOOD,
    Stage.EVALUATED: Tone.GOOD,
    Stage.REJECTED: Tone.BAD,
    Stage.FAILED: Tone.BAD,
}
_STANDING_TONES = {
    Standing.WAITING: Tone.WARN,
    Standing.QUARANTINED: Tone.ALARM,
    Standing.REVOKED: Tone.BAD,
    Standing.REFUSED: Tone.BAD,
}
_STANDING_WORDS = {Standing.WAITING: "asks to join", Standing.QUARANTINED: "quarantined"}
_WORD = 10


def draw_device(row: DeviceRow, column: str, width: int) -> Line:
    """One cell of the table."""
    match column:
        case "device":
            mark, tone = _MARKS[row.presence]
            name = Tone.DIM if row.presence is Presence.OFFLINE else Tone.PLAIN
            label: Line = [(f" {row.label}", Tone.DIM)] if row.label else []
            return [(f"{mark} ", tone), (row.name, name), *label]
        case "now":
            return _now(row, width)
        case "received":
            return [(share(row.received), Tone.RECEIVED)]
        case "local":
            return [(share(row.local), Tone.LOCAL)]
        case "trend":
            return sparkline(row.trend, width)
        case "norm":
            return [(_norm(row.norm), Tone.PLAIN)]
        case "cosine":
            if row.cosine is None:
                return [("-", Tone.DIM)]
            tone = Tone.ALARM if row.opposes else Tone.WARN if row.cosine < 0 else Tone.PLAIN
            return [(f"{row.cosine:+.2f}", tone)]
        case "verdicts":
            bad = Tone.BAD if row.rejected else Tone.DIM
            return [(f"{row.accepted}", Tone.PLAIN), ("/", Tone.DIM), (f"{row.rejected}", bad)]
        case _:
            return [(f"{row.samples}", Tone.DIM)]


def _norm(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if value == 0 or value >= 0.001 else f"{value:.1e}"


def _now(row: DeviceRow, width: int) -> Line:
    if row.standing is not Standing.ENROLLED:
        word = _STANDING_WORDS.get(row.standing, row.standing.value)
        return [(word, _STANDING_TONES[row.standing])]
    if row.presence is Presence.OFFLINE:
        return [("offline", Tone.BAD)]
    if row.presence is Presence.WAITING and row.stage is Stage.IDLE:
        return [("waits", Tone.WARN)]
    tone = _STAGE_TONES[row.stage]
    if row.stage is not Stage.TRAINING:
        return [(row.stage.value, tone)]
    bar = width - _WORD
    if bar >= 4:
        return [("training".ljust(_WORD), tone), *meter([(row.progress, tone)], bar)]
    return [(f"train {row.progress:4.0%}", tone)]


# Who comes first


def ordered(
    view: FederationView,
    labels: Mapping[str, str],
    order: Order,
    *,
    backwards: bool = False,
    wanted: str = "",
) -> list[str]:
    """The names of the devices that are looked for, in that order."""
    wanted = wanted.casefold().strip()
    names = [
        name
        for name, device in view.devices.items()
        if not wanted or _is_wanted(name, device, labels.get(name, ""), wanted)
    ]
    key = _key(view, order)
    names.sort(key=lambda name: (*key(name), *_natural(name)), reverse=backwards)
    return names


def _is_wanted(name: str, device: DeviceView, label: str, wanted: str) -> bool:
    told = (name, label, device.presence, device.stage, device.standing)
    return any(wanted in str(getattr(one, "value", one)).casefold() for one in told)


@lru_cache(maxsize=65_536)
def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """pi-2 comes before pi-10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (0, part) for part in parts)


def _key(view: FederationView, order: Order) -> Callable[[str], _SortKey]:
    devices = view.devices
    if order is Order.NAME:
        return lambda name: ()
    if order is Order.LOCAL:
        return lambda name: _first_least(devices[name].last_local)
    if order is Order.STAGE:
        stages = list(Stage)
        return lambda name: (-stages.index(devices[name].stage),)
    cosines = _last_cosines(view)
    if order is Order.COSINE:
        return lambda name: _first_least(cosines.get(name))
    return lambda name: (-_trouble(devices[name]),)


def _first_least(value: float | None) -> _SortKey:
    return (value is None, value or 0.0)


def _last_cosines(view: FederationView) -> dict[str, float]:
    for here in reversed(list(view.rounds.values())):
        if here.metrics is not None and here.metrics.update_cosines:
            return here.metrics.update_cosines
    return {}


def _trouble(device: DeviceView) -> int:
    if device.standing is not Standing.ENROLLED:
        return 6 if device.standing is Standing.WAITING else 3
    if device.stage in (Stage.REJECTED, Stage.FAILED):
        return 5
    if device.opposes:
        return 4
    if device.presence is not Presence.ONLINE:
        return 2 if device.presence is Presence.OFFLINE else 1
    return 0
