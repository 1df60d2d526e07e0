"""`pfedfrz report`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pfedfrz_monitor.report import RunRecord

__all__ = ["command"]


@click.command("report")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A name that ends in .html takes the page alone, a directory all files.  "
    "[default: report-NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json; files only with --out.")
def command(run: Path, out: Path | None, as_json: bool) -> None:
    """Make the report of a federation from its coordinator's journal.

    RUN is a coordinator's state_dir, the folder of its coordinator.toml, or the directory of a run
    of pfedfrz emulate. It is only read, and the coordinator may be running. What nobody knows, as
    the dataset of real boards, is left out.

    \b
    Examples:
      pfedfrz report /var/lib/pfedfrz/coordinator --out today.html
      pfedfrz report runs/20260101-120000-pfedfrz-mnist --json
    """
    from pfedfrz_monitor.report import encode_summary
    from pfedfrz_monitor.runs import find_place, read_record

    place = find_place(run)
    record = read_record(place)
    if as_json:
        click.echo(encode_summary(record), nl=False)
        if out is None:
            return
    written = _write(record, out or Path(f"report-{place.name}"), as_json)
    if not as_json:
        for line in (*_describe(record), f"report    {written}"):
            click.echo(line)


def _write(record: RunRecord, out: Path, quietly: bool) -> Path:
    from pfedfrz_monitor.report import encode_page, write_report
    from pfedfrz_storage import write_atomically

    if out.suffix.lower() in (".html", ".htm"):
        write_atomically(out, encode_page(record))
        return out
    with_plots = importlib.util.find_spec("matplotlib") is not None
    if not with_plots:
        click.echo("note: no PNG plots without matplotlib; pip install 'pfedfrz[plots]'", err=True)
    return write_report(record, out, with_plots=with_plots).page


def _describe(record: RunRecord) -> list[str]:
    from pfedfrz_monitor.report import describe_record

    wanted = record.settings.rounds
    rounds = f"{len(record.rounds)} of {wanted}" if wanted else f"{len(record.rounds)}"
    return [f"rounds    {rounds}, {record.state.value}", *describe_record(record)]
