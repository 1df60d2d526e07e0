"""`pfedfrz device status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pfedfrz_protocol.one_line import one_line

if TYPE_CHECKING:
    from pfedfrz_edge.status import Overview, RoundRecord
    from pfedfrz_edge.status.overview import FileFacts

__all__ = ["command"]

_LONGEST_ROW = 2000


@click.command("status")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The device's TOML file.",
)
@click.option(
    "--rounds",
    type=click.IntRange(0, 50),
    default=5,
    show_default=True,
    help="So many of the last rounds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config: Path, rounds: int, as_json: bool) -> None:
    """Show everything about a device on one screen, whether it runs or not.

    \b
    Example:  pfedfrz device status --config /etc/pfedfrz/device.toml
    """
    from pfedfrz_edge.status import look_at_device

    overview = look_at_device(config, rounds=rounds)
    if as_json:
        content = {"waiting_for": overview.waiting_for, **msgspec.to_builtins(overview)}
        click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2))
        return
    for title, text in _rows(overview):
        # Names and faults come from elsewhere too: from a bundle, from a broker.
        click.echo(one_line(f"{title:<13} {text}", _LONGEST_ROW))


def _rows(view: Overview) -> list[tuple[str, str]]:
    now = view.taken_at
    rows = [("device", f"{view.device} of federation {view.federation}"), *_process(view)]
    if view.coordinator_key is None:
        rows.append(("coordinator", "none heard yet, the first one will be trusted"))
    else:
        how = "configured" if view.coordinator_key_configured else "the first one heard"
        rows.append(("coordinator", f"key {view.coordinator_key[:12]}... is trusted, {how}"))
    bundle = view.bundle
    rows.append(
        ("bundle", bundle.fault or f"{bundle.model} ({bundle.digest[:12]}...), {bundle.file}")
    )
    rows += _conditions(view)
    if view.process:
        rows.append(("samples", f"{view.process.samples} to train on"))
    rows.append(("personal", _file(view.personal, now) or "no personal weights yet"))
    rows.append(("model in use", _file(view.model, now) or "none trained yet"))
    rows.append(("disk", f"{_megabytes(view.disk_free_bytes)} free, the state takes "
                         f"{_megabytes(view.state_bytes)}"))  # fmt: skip
    own = "" if view.process_memory_bytes is None else (
        f"the device takes {_megabytes(view.process_memory_bytes)}, "
    )  # fmt: skip
    rows.append(
        ("memory", f"{own}{_megabytes(view.available_memory_bytes)} of "
                   f"{_megabytes(view.machine_memory_bytes)} available")
    )  # fmt: skip
    rows += [("fault", fault) for fault in view.faults]
    return [*rows, *_rounds(view.rounds, now)]


def _process(view: Overview) -> list[tuple[str, str]]:
    process, now = view.process, view.taken_at
    if process is None:
        return [("process", "does not run, and has not run yet")]
    if not view.running:
        if process.ended_at is not None:
            return [("process", f"does not run; ended {_ago(process.ended_at, now)}")]
        seen = _ago(process.written_at, now)
        return [("process", f"does not run; it was killed, and last wrote {seen}")]
    since = _ago(process.connected_since, now, "for ")
    if process.connected:
        link = f"connected to {view.broker} {since}"
    else:
        link = f"not connected to {view.broker} {since}"
        link += f": {process.connection_fault}" if process.connection_fault else ""
    doing = f"{process.state}, round {process.round}" if process.round else process.state
    return [
        ("process", f"runs as {process.process.pid}, {_ago(process.started_at, now, 'for ')}"),
        ("broker", link),
        ("now", doing),
    ]


def _conditions(view: Overview) -> list[tuple[str, str]]:
    rows = [(f"  {one.name}", one.value) for one in view.conditions]
    waits = view.waiting_for
    if not rows:
        return [("conditions", "none: trains always")]
    if not view.running:
        return [("conditions", "not judged while the device does not run"), *rows]
    return [("conditions", f"waits: {waits}" if waits else "all met"), *rows]


def _rounds(records: tuple[RoundRecord, ...], now: float) -> list[tuple[str, str]]:
    if not records:
        return [("rounds", "none yet")]
    rows = [("round", f"{'for':<9}{'received':>9}{'local':>9}{'loss':>10}{'train':>9}  when")]
    for record in records:
        report, when = record.report, _ago(record.ended_at, now)
        if report is None:
            rows.append((f"  {record.round}", f"{record.purpose.value:<9}failed {when}: "
                                              f"{record.fault}"))  # fmt: skip
            continue
        loss = "-" if report.loss is None else f"{report.loss:.4f}"
        rows.append((
            f"  {record.round}",
            f"{record.purpose.value:<9}{_percent(report.received):>9}{_percent(report.local):>9}"
            f"{loss:>10}{report.train_s:>7.1f} s  {when}",
        ))  # fmt: skip
    return rows


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _file(file: FileFacts | None, now: float) -> str:
    if file is None:
        return ""
    return f"{file.file}, {_megabytes(file.bytes)}, saved {_ago(file.saved_at, now)}"


def _megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:,.1f} MB"


def _ago(moment: float, now: float, word: str = "") -> str:
    """As "3 min ago", or "for 3 min", and the local time of it where it is long ago."""
    seconds = max(0.0, now - moment)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size or size == 1:
            text = f"{int(seconds // size)} {unit}"
            break
    text = f"{word}{text}" if word else f"{text} ago"
    if seconds < 3600:
        return text
    return f"{text} ({time.strftime('%Y-%m-%d %H:%M', time.localtime(moment))})"
