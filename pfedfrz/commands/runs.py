"""`pfedfrz runs`: the runs that are on the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pfedfrz_protocol import ConfigurationError

if TYPE_CHECKING:
    from pfedfrz_monitor.report import RunRecord
    from pfedfrz_monitor.runs import Comparison, RunEntry

__all__ = ["command"]

_RUN = click.Path(path_type=Path)
_UNKNOWN = "\N{EN DASH}"


def _json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group("runs")
def command() -> None:
    """List, compare and export the runs that are on the disk.

    A RUN is the directory of a run of pfedfrz emulate, a coordinator's state_dir, or the folder of
    its coordinator.toml. Nothing is written to it, and it may be running.

    \b
    Examples:
      pfedfrz runs list
      pfedfrz runs compare runs/first runs/second
      pfedfrz runs export runs/first --to parquet --out tables
    """


@command.command("list")
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=_RUN)
@_json
def list_command(directories: tuple[Path, ...], as_json: bool) -> None:
    """List the runs, studies and federations below DIR.  [default: runs and studies]"""
    from pfedfrz_monitor.runs import find_runs

    for directory in directories:
        if not directory.is_dir():
            raise ConfigurationError(f"{directory}: there is no such directory")
    roots = directories or tuple(p for p in (Path("runs"), Path("studies")) if p.is_dir())
    found = find_runs(roots)
    for fault in found.faults:
        click.echo(f"skipped: {fault}", err=True)
    if as_json:
        _print_json({"runs": found.runs, "skipped": found.faults})
        return
    if not found.runs:
        shown = ", ".join(map(str, roots)) or "runs or studies, which are not here"
        click.echo(f"no runs in {shown}")
        return
    for line in _list(found.runs):
        click.echo(line)


@command.command("show")
@click.argument("run", metavar="RUN", type=_RUN)
@_json
def show_command(run: Path, as_json: bool) -> None:
    """Show one run: its settings and what came of it."""
    from pfedfrz_monitor.report import summarize

    record = _read(run)
    if as_json:
        _print_json(summarize(record))
        return
    for line in _show(record):
        click.echo(line)


@command.command("compare")
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=_RUN)
@_json
def compare_command(runs: tuple[Path, ...], as_json: bool) -> None:
    """Put the numbers of several runs side by side; differences are to the first."""
    from pfedfrz_monitor.runs import compare, find_place

    if len(runs) < 2:
        raise click.UsageError("give two runs or more")
    named = [(find_place(run).name, _read(run)) for run in runs]
    comparison = compare(named)
    if as_json:
        _print_json(comparison)
        return
    for line in _compare(comparison):
        click.echo(line)


@command.command("diff")
@click.argument("first", metavar="RUN", type=_RUN)
@click.argument("second", metavar="RUN", type=_RUN)
@_json
def diff_command(first: Path, second: Path, as_json: bool) -> None:
    """Show in what two runs were told to differ, and on what they ran."""
    from pfedfrz_monitor.runs import aligned, differences, find_place, told_of

    places = find_place(first), find_place(second)
    found = differences(told_of(places[0]), told_of(places[1]))
    if as_json:
        _print_json(found)
        return
    if not found:
        click.echo("no difference in what was written down")
        return
    rows = [(d.group, d.name, d.first or _UNKNOWN, d.second or _UNKNOWN) for d in found]
    for line in aligned(("of", "setting", places[0].name, places[1].name), rows):
        click.echo(line)


@command.command("export")
@click.argument("run", metavar="RUN", type=_RUN)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["csv", "parquet", "tensorboard"]),
    required=True,
    help="What to write.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where to; made if need be.",
)
@_json
def export_command(run: Path, kind: str, out: Path, as_json: bool) -> None:
    """Write a run as tables (rounds, devices by rounds, refusals) or as TensorBoard's events."""
    from pfedfrz_monitor.exports import export_run

    files = export_run(_read(run), kind, out)
    if as_json:
        _print_json([str(file) for file in files])
        return
    for file in files:
        click.echo(str(file))


def _read(run: Path) -> RunRecord:
    from pfedfrz_monitor.runs import find_place, read_record

    return read_record(find_place(run))


def _print_json(content: object) -> None:
    # A path may hold bytes that are no text: json writes them in an escaped form.
    click.echo(json.dumps(msgspec.to_builtins(content), indent=2))


def _list(entries: tuple[RunEntry, ...]) -> list[str]:
    from pfedfrz_monitor.runs import aligned

    titles = ("when", "run", "kind", "method", "dataset", "devices", "rounds", "received",
              "local", "bytes", "took", "state", "path")  # fmt: skip
    return aligned(titles, [_entry(entry) for entry in entries], right=(5, 6, 7, 8, 9, 10))


def _entry(entry: RunEntry) -> tuple[str, ...]:
    from pfedfrz_monitor.report.quantities import bytes_text, duration_text, percent_text

    devices = _UNKNOWN if entry.devices is None else str(entry.devices)
    if entry.attackers:
        devices += f" ({entry.attackers} attack)"
    wanted = "" if entry.wanted is None else f"/{entry.wanted}"
    what = " cells" if entry.kind == "study" else ""
    return (
        _when(entry.began_at),
        entry.name,
        entry.kind,
        entry.method or _UNKNOWN,
        entry.dataset or _UNKNOWN,
        devices,
        f"{entry.completed}{wanted}{what}",
        percent_text(entry.received),
        percent_text(entry.local),
        _UNKNOWN if entry.bytes is None else bytes_text(entry.bytes),
        _UNKNOWN if entry.wall_s is None else duration_text(entry.wall_s),
        entry.state.value,
        entry.path,
    )


def _when(seconds: float | None) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else _UNKNOWN
    except (OverflowError, OSError, ValueError):
        return _UNKNOWN


def _show(record: RunRecord) -> list[str]:
    from pfedfrz_monitor.report import Moment, describe_record, round_spreads
    from pfedfrz_monitor.runs import aligned, spark_line

    settings = record.settings
    facts: list[tuple[str, object]] = [
        ("federation", settings.federation or None),
        ("method", settings.method),
        ("model", settings.model),
        ("personal", settings.personal),
        ("dataset", settings.dataset),
        ("split", settings.split or settings.alpha),
        ("devices", settings.devices),
        ("attackers", settings.attackers),
        ("attack", settings.attack),
        ("seed", settings.seed),
        ("runtime", settings.runtime),
        ("broker", settings.broker),
        *settings.details,
    ]
    shown = dict.fromkeys(name for name, value in facts if value is not None)
    values = {name: value for name, value in facts if value is not None}
    lines = aligned(("", ""), [(name, str(values[name])) for name in shown])[1:]
    wanted = f" of {settings.rounds}" if settings.rounds else ""
    lines += ["", f"rounds    {len(record.rounds)}{wanted}, {record.state.value}"]
    lines += describe_record(record)
    for moment in Moment:
        means = [spread.mean if spread else None for spread in round_spreads(record, moment)]
        if any(mean is not None for mean in means):
            lines.append(f"{moment.value:<9} {spark_line(means, 0.0, 1.0)}  (0 to 100 %, by round)")
    return lines


def _compare(comparison: Comparison) -> list[str]:
    from pfedfrz_monitor.report.quantities import bytes_text, duration_text, percent_text
    from pfedfrz_monitor.runs import aligned, spark_line

    runs = comparison.runs

    def row(title: str, of: list[str]) -> tuple[str, ...]:
        return (title, *of)

    def known_or(value: object) -> str:
        return _UNKNOWN if value is None else str(value)

    def accuracy(mean: float | None, difference: float | None) -> str:
        return percent_text(mean) + ("" if difference is None else f" ({100 * difference:+.1f})")

    rows = [
        row("state", [run.state.value for run in runs]),
        row("seed", [known_or(run.seed) for run in runs]),
        row("devices", [str(run.devices) for run in runs]),
        row("attackers", [known_or(run.attackers) for run in runs]),
        row("rounds", [str(run.rounds) for run in runs]),
        row("received", [accuracy(run.received, run.received_difference) for run in runs]),
        row("local", [accuracy(run.local, run.local_difference) for run in runs]),
        row("lowest local", [percent_text(run.local_worst) for run in runs]),
        row("accepted", [str(run.accepted) for run in runs]),
        row("rejected", [str(run.rejected) for run in runs]),
        row("uploaded", [bytes_text(run.uplink_bytes) for run in runs]),
        row("downloaded", [bytes_text(run.downlink_bytes) for run in runs]),
        row("training", [duration_text(run.train_s) for run in runs]),
        row("time", [duration_text(run.wall_s) for run in runs]),
    ]
    ranges = []
    for moment, curves in (
        ("received", [run.received_by_round for run in runs]),
        ("local", [run.local_by_round for run in runs]),
    ):
        known = [value for curve in curves for value in curve if value is not None]
        if known:
            low, high = min(known), max(known)
            rows.append(row(f"{moment} by round", [spark_line(c, low, high) for c in curves]))
            ranges.append(f"{moment} from {percent_text(low)} to {percent_text(high)}")
    lines = aligned(("", *(run.name for run in runs)), rows)
    if ranges:
        bars = ", ".join(ranges).replace("\N{NO-BREAK SPACE}", " ")
        lines.append(f"bars: {bars}; differences in percentage points")
    return [*lines, *(f"note: {warning}" for warning in comparison.warnings)]
